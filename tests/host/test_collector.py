"""The collector of cycles is held back for a while, and never left so."""

import gc

import pytest

from transformer_jax.host import collector


def test_it_goes_on_when_asked_and_at_the_end_in_any_case():
    with collector.paused() as resume:
        assert not gc.isenabled()
        resume()
        assert gc.isenabled()
    with pytest.raises(ValueError), collector.paused():
        raise ValueError
    assert gc.isenabled()


def test_whoever_has_turned_it_off_finds_it_off():
    gc.disable()
    try:
        with collector.paused() as resume:
            resume()
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
