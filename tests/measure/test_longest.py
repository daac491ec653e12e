"""The search for the longest length against planted limits, and one real try in a process of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.config import Config, ModelConfig, TaskConfig
from transformer_jax.host.exhaustion import available_bytes, is_out_of_memory
from transformer_jax.measure import longest
from transformer_jax.measure.longest import Try, attempt, search

GIB = 2**30


def planted(memory, time):
    """Lengths above `memory` run out of it, unless they run out of time before."""

    def at(T):
        return Try(T, "time" if T > time else "memory" if T > memory else "ok")

    return at


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 60), st.integers(0, 6))
def test_the_bracket_holds_the_limit_and_says_which_it_was(memory, time, first, halvings):
    found = search(planted(memory, time), first, 4000, halvings)
    limit = min(memory, time)
    assert [one.outcome == "ok" for one in found.tries] == [one.tried_len <= limit for one in found.tries]
    assert len({one.tried_len for one in found.tries}) == len(found.tries)
    if found.longest_len is None:
        assert found.too_long == first > limit
    elif found.too_long is None:
        assert found.longest_len == 4000 <= limit and found.limited_by == "cap"
    else:
        assert found.longest_len <= limit < found.too_long
        width = found.too_long / found.longest_len
        assert width <= 2 ** (0.5**halvings) * (1 + 1 / found.longest_len) or found.too_long - found.longest_len == 1
    if found.too_long is not None:
        assert found.limited_by == ("time" if found.too_long > time else "memory")


def config_of(T, attention="reference"):
    return Config(
        ModelConfig(d_model=8, num_heads=1, num_layers=1, attention=attention, max_len=2**20),
        TaskConfig(seq_len=T, batch_size=1, vocab_size=8),
    )


@pytest.mark.alone
@pytest.mark.slow
def test_a_try_that_runs_out_of_memory_or_time_ends_nothing_but_itself():
    assert available_bytes() > 2 * GIB
    done = attempt(config_of(64), 2 * GIB, 300)
    assert done.outcome == "ok" and done.step_seconds > 0 and 2**24 < done.peak_bytes < 2 * GIB
    assert attempt(config_of(65536), 2 * GIB, 300).outcome == "memory"  # scores of 17 GB
    assert attempt(config_of(64), 2 * GIB, 0.001) == Try(64, "time")


@pytest.mark.slow
def test_a_process_that_dies_of_something_else_is_an_error():
    with pytest.raises(RuntimeError, match="(?s)task.seq_len=64 ended with 1:.*ValueError"):
        attempt(config_of(64, "splash"), 2 * GIB, 300)  # a kernel for TPUs


def test_a_process_that_says_nothing_is_no_result(monkeypatch):
    monkeypatch.setattr(longest, "START_SECONDS", 0.001)
    with pytest.raises(RuntimeError, match="did not start within"):
        attempt(config_of(64), GIB, 1)


@pytest.mark.parametrize("text", ["RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.", "std::bad_alloc",
                                  "allocate of <9> failed.\nINTERNAL: YNNPACK operation failed: error",
                                  "OSError: [Errno 12] Cannot allocate memory"])  # fmt: skip
def test_memory_that_ran_out_is_known_by_its_message(text):
    assert is_out_of_memory(text) and not is_out_of_memory("ValueError: shapes")
