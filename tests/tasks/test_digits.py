"""The digits are scikit-learn's, read without it."""

from importlib import util

import numpy as np
import pytest

from transformer_jax.tasks import digits


def test_what_is_read_is_what_scikit_learn_gives():
    from sklearn.datasets import load_digits

    pixels, labels = digits.read()
    expected = load_digits()
    assert pixels.dtype == np.uint8 and labels.dtype == np.int32
    np.testing.assert_array_equal(pixels, expected.images[..., None])
    np.testing.assert_array_equal(labels, expected.target)


def test_without_scikit_learn_the_error_names_it(monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="scikit-learn, which is not installed"):
        digits.read()
