"""A step is compiled once for a config, and sampled at the place that its group says."""

import pytest

from transformer_jax.config import Config, with_overrides
from transformer_jax.lab import timed
from transformer_jax.lab.sweep import Job
from transformer_jax.measure import cost
from transformer_jax.measure.work import Work, next_token

CONFIG = with_overrides(
    Config(),
    {"model.d_model": 8, "model.num_heads": 2, "model.num_layers": 1, "task.vocab_size": 16, "task.seq_len": 8,
     "task.batch_size": 2, "measure.min_sample_seconds": 1e-4},
)  # fmt: skip


def work(config):
    return Work(config, next_token(config))


@pytest.mark.parametrize("one_core", [False, True])
def test_a_step_is_compiled_once_and_sampled_at_its_place(monkeypatch, tmp_path, one_core):
    made, places = [], []

    class Seen:
        def __init__(self, work, min_sample_seconds):
            made.append((work, min_sample_seconds))

        def settle(self):
            return {"sample_seconds": 1.0}

        def __call__(self, place):
            places.append(place)
            return {"step_seconds": 1.0}

    monkeypatch.setattr(cost, "OneCore" if one_core else "Sampler", Seen)
    of = timed.steps(work, lambda config: config.task.seq_len, lambda config: one_core)
    assert of.prepare(CONFIG)() == {"sample_seconds": 1.0}
    assert [of.cell(CONFIG, Job(0, tmp_path, round_)) for round_ in (0, 3)] == [{"step_seconds": 1.0}] * 2
    assert made == [(work(CONFIG), 1e-4)] and places == [(0, 8), (3, 8)]


def test_two_experiments_share_no_step():
    one, other = timed.steps(work), timed.steps(work)
    assert one.prepare(CONFIG).__self__ is one.prepare(CONFIG).__self__
    assert one.prepare(CONFIG).__self__ is not other.prepare(CONFIG).__self__
