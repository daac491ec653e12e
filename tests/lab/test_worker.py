"""What a worker makes of rows and errors, without its process."""

import numpy as np
import pytest

from transformer_jax.config import Config
from transformer_jax.lab import worker


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 40000000000000 bytes.", 40000000000000),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.", 17179869184),
        ("Failed to allocate request for 1.5GiB (1610612736B) on device ordinal 0", 1610612736),
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", 2 * 2**30),
        ("Unable to allocate 72.5 TiB for an array with shape (10000000000000,)", int(72.5 * 2**40)),
        ("Ran out of memory in memory space hbm. Used 20.25G of 15.75G hbm.", int(20.25 * 2**30)),
        ("std::bad_alloc", None),
    ],
)
def test_requested_bytes(text, expected):
    assert worker.requested_bytes(text) == expected


def test_an_out_of_memory_is_found_behind_the_error_that_it_caused():
    def cell(config):
        try:
            raise MemoryError("Unable to allocate 3 bytes")
        except MemoryError as error:
            raise RuntimeError("step failed") from error

    outcome = worker.attempt(cell, Config())
    assert (outcome["status"], outcome["requested_bytes"]) == ("oom", 3)
    assert outcome["message"] == "RuntimeError: step failed"


def test_scalars_of_numpy_become_plain():
    row = {
        "f": np.float32(0.5),
        "i": np.int64(3),
        "b": np.bool_(True),
        "a": np.array(2.0),
        "n": None,
        "s": "x",
    }
    assert worker.plain(row) == {"f": 0.5, "i": 3, "b": True, "a": 2.0, "n": None, "s": "x"}
    assert [type(v) for v in worker.plain(row).values()] == [float, int, bool, float, type(None), str]


def test_several_rows_are_one_outcome():
    curve = [{"step": np.int64(1), "loss": 2.0}, {"step": 2, "loss": float("nan")}]
    outcome = worker.attempt(lambda config: curve[:1], Config())
    assert outcome == {"status": "ok", "rows": [{"step": 1, "loss": 2.0}]}
    outcome = worker.attempt(lambda config: curve, Config())
    assert outcome == {"status": "nan", "rows": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}]}


@pytest.mark.parametrize(
    "row",
    [
        {"x": [1]},
        {"x": np.zeros(2)},
        {"key": 1},
        {"part": 1},
        {"model.mixer": "gru"},
        {3: 1},
        None,
        [],
        [1],
        [{}, None],
    ],
)
def test_rows_that_are_not_flat_or_take_the_runners_names_fail(row):
    assert worker.attempt(lambda config: row, Config())["status"] == "failed"


def test_a_long_traceback_keeps_its_end():
    def deep(n):
        return deep(n - 1) + 1 if n else {}[("end",)]

    def cell(config):
        raise ValueError("x" * 100_000)

    assert len(worker.attempt(cell, Config())["message"]) == worker.MAX_TEXT
    text = worker.attempt(lambda config: deep(300), Config())["traceback"]
    assert len(text) < worker.MAX_TEXT + 10 and text.endswith("KeyError: ('end',)\n")
