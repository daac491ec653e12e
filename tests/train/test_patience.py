"""Early stopping: a run ends where its evaluations say, however often it was stopped or broken off before."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.config import ConfigError, TrainConfig
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.log import read_metrics
from transformer_jax.train.loop import fit
from transformer_jax.train.patience import Patience
from transformer_jax.train.progress import Progress

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, math.nan, math.inf, -math.inf]), max_size=30)


def expected_end(scores, limit):
    """Evaluations that a run makes: counted afresh at each of them, from all before it."""
    for n in range(1, len(scores) + 1):
        finite = np.array([score if math.isfinite(score) else -math.inf for score in scores[:n]])
        since = n if (finite == -math.inf).all() else n - 1 - int(finite.argmax())
        if since >= limit:
            return n
    return None


@given(SCORES, st.integers(1, 5))
def test_it_is_over_when_so_many_evaluations_were_no_better(scores, limit):
    waited, ended = Patience(), None
    for n, score in enumerate(scores, 1):
        waited = Patience.of(json.loads(json.dumps(waited.after(score)._asdict())))  # as a checkpoint keeps it
        assert not waited.over(None)
        if waited.over(limit):
            ended = n
            break
    assert ended == expected_end(scores, limit)


def test_no_patience_at_all_is_refused():
    with pytest.raises(ConfigError, match="train.patience=0: must be at least 1"):
        TrainConfig(patience=0)


def test_patience_needs_a_checkpoint_of_every_evaluation():
    with pytest.raises(ConfigError, match="train.patience=2 needs .* must equal train.eval_every=100"):
        TrainConfig(patience=2, eval_every=100, checkpoint_every=200)


LONG = {"train.num_steps": 60, "train.eval_every": 2, "train.checkpoint_every": 2, "train.peak_lr": 0.09}
PATIENT = LONG | {"train.patience": 2}


def rows_of(folder):
    return read_metrics(folder / "metrics.jsonl")


def test_a_run_ends_where_its_evaluations_stop_getting_better(parts, tmp_path):
    """Up to there it is the run without patience; its last step and its best are saved."""
    fit(*parts(LONG), tmp_path / "long")
    scores = [-row["loss"] for row in rows_of(tmp_path / "long") if row["split"] == "validation"]
    end = 2 * expected_end(scores, 2)
    assert end < 60, "the test needs a run that gets worse"
    progress, noted = Progress(), []
    progress.note = noted.append
    outcome = fit(*parts(PATIENT), tmp_path / "patient", progress=progress)
    assert (outcome.status, outcome.step) == ("done", end)
    rows = rows_of(tmp_path / "patient")
    assert rows == [row for row in rows_of(tmp_path / "long") if row["step"] <= end]
    assert noted == [
        f"ended at step {end} of 60: the last 2 evaluations gave no better validation loss (train.patience=2)"
    ]
    checkpoints = Checkpoints(tmp_path / "patient" / "checkpoints")
    losses = {row["step"]: row["loss"] for row in rows if row["split"] == "validation"}
    assert checkpoints.find("latest") == end and checkpoints.find("best") == min(losses, key=losses.get)


def test_the_same_command_leaves_it_as_it_is(parts, tmp_path):
    end = fit(*parts(PATIENT), tmp_path).step
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "launches" not in path.name}
    outcome = fit(*parts(PATIENT), tmp_path)
    assert (outcome.status, outcome.step, outcome.metrics) == ("done", end, [])
    assert {path: path.read_bytes() for path in before} == before
    assert fit(*parts(PATIENT | {"train.num_steps": 80}), tmp_path).step == end  # more steps do not change why it ended


class _BrokenOff(Exception):
    pass


@pytest.mark.parametrize("chunks", [1, 3])
def test_stopped_and_broken_off_it_ends_as_an_unbroken_one(parts, tmp_path, chunks):
    whole = fit(*parts(PATIENT), tmp_path / "whole")
    outcome, launches = None, 0
    while outcome is None or outcome.status == "stopped":
        asked, launches = [0], launches + 1

        def stopping(asked=asked, breaks=launches % 3 == 2):
            asked[0] += 1
            if breaks and asked[0] > chunks + 1:
                raise _BrokenOff
            return asked[0] > chunks

        try:
            outcome = fit(*parts(PATIENT), tmp_path / "pieces", stopping=stopping)
        except _BrokenOff:
            outcome = None
        assert launches < 100
    assert (outcome.status, outcome.step) == ("done", whole.step) and launches > 3
    assert (tmp_path / "pieces" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    one, other = (Checkpoints(tmp_path / name / "checkpoints") for name in ("whole", "pieces"))
    assert one.steps() == other.steps() and one.find("best") == other.find("best")
