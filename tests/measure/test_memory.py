"""Planned memory is arithmetic on XLA's report; peaks are read where the system tells them."""

import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.measure import memory


def compiled(donate=()):
    x, y = jax.ShapeDtypeStruct((30, 50), jnp.float32), jax.ShapeDtypeStruct((50, 70), jnp.float32)
    return jax.jit(lambda x, y: (jnp.tanh(x) * 2, jnp.tanh(x) @ y), donate_argnums=donate).lower(x, y).compile()


def test_program_memory_counts_arguments_outputs_and_aliases():
    plain, donated = memory.program_memory(compiled()), memory.program_memory(compiled(donate=0))
    assert plain.argument_bytes == 4 * (30 * 50 + 50 * 70)
    assert plain.output_bytes >= 4 * (30 * 50 + 30 * 70)  # and the table of the output tuple
    assert (plain.alias_bytes, donated.alias_bytes) == (0, 4 * 30 * 50)


@pytest.mark.parametrize(
    "analysis",
    [None, SimpleNamespace(**dict.fromkeys((f"{k}_size_in_bytes" for k in ("argument", "output", "temp")), 0))],
)
def test_no_report_is_none_and_never_zero(analysis):
    nothing = memory.program_memory(SimpleNamespace(memory_analysis=lambda: analysis))
    assert nothing == memory.ProgramMemory()


def test_backend_that_refuses_is_none():
    def refuse():
        raise NotImplementedError

    assert memory.program_memory(SimpleNamespace(memory_analysis=refuse)).temp_bytes is None


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is reset through /proc")
def test_peak_rss_sees_memory_that_is_gone_again_and_forgets_the_past():
    size = 64 * 2**20
    with memory.peak_rss() as first:
        np.ones(size, np.uint8).sum()
    with memory.peak_rss() as second:
        pass
    assert first.peak_bytes - first.start_bytes > 0.9 * size
    assert second.peak_bytes < first.peak_bytes - 0.5 * size


def test_peak_rss_is_none_where_it_cannot_be_reset(monkeypatch):
    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr(memory.Path, "write_text", refuse)
    with memory.peak_rss() as rss:
        pass
    assert rss == memory.PeakRss(None, None)


def test_device_peak_is_what_the_device_reports():
    assert memory.device_peak_bytes(SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": 7})) == 7
    assert memory.device_peak_bytes(SimpleNamespace(memory_stats=lambda: None)) is None
