"""As many seconds as attention: the steps are those that fit, are measured in turns, once, and kept with the cell."""

import json
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig, with_overrides
from transformer_jax.lab import equal_seconds
from transformer_jax.measure import matching
from transformer_jax.tasks import associative_recall

CONFIG = Config(
    model=ModelConfig(mixer="gru", d_model=32, num_heads=2, num_layers=1, mlp_dim=8, max_len=16),
    task=TaskConfig(name="associative_recall", vocab_size=16, num_items=2, seq_len=8, batch_size=4),
    train=TrainConfig(num_steps=1040, warmup_steps=60, chunk_steps=3, eval_every=20, checkpoint_every=20, lanes=2),
    measure=equal_seconds.Axes(matching="seconds"),
)
TASK = associative_recall.build(CONFIG)


@given(st.integers(1, 3000), st.integers(1, 400), st.floats(0.05, 50))
def test_no_other_multiple_of_the_evaluations_comes_nearer_to_the_seconds(num_steps, eval_every, ratio):
    """Found by walking from evaluation to evaluation, with a clock."""
    steps, seconds, best = 0, 0.0, None
    while seconds <= num_steps:
        steps, seconds = steps + eval_every, (steps + eval_every) * ratio
        best = min(best or seconds, seconds, key=lambda taken: abs(taken - num_steps))
    train = TrainConfig(num_steps=num_steps, eval_every=eval_every, checkpoint_every=eval_every)
    found = equal_seconds.as_many(train, ratio)
    assert found > 0 and found % eval_every == 0
    assert abs(found * ratio - num_steps) == pytest.approx(abs(best - num_steps), abs=1e-6 * num_steps)


def planted(monkeypatch, attention, own):
    """The seconds of a step in each turn; gives the mixers in the order in which they were timed."""
    timed = []

    def chunk(config, task):
        mixer = config.model.mixer
        taken = iter(attention if mixer == "attention" else own)
        return lambda: timed.append(mixer) or next(taken)

    monkeypatch.setattr(equal_seconds, "_chunk", chunk)
    monkeypatch.setattr(equal_seconds, "TURNS", len(own))
    return timed


def test_both_are_timed_in_turns_so_that_a_slow_machine_meets_both(tmp_path, monkeypatch):
    timed = planted(monkeypatch, attention=[1.0, 5.0, 1.0], own=[4.0, 20.0, 90.0])  # slow in the second turn
    config, found = equal_seconds.matched(CONFIG, TASK, tmp_path / "cell")
    assert timed == ["attention", "gru"] * 3
    assert found == {"trained_steps": 260, "step_seconds_ratio": 4.0, "attention_step_seconds": 1.0}
    alike = with_overrides(matching.matched(CONFIG, TASK.shape, "params"), {"train.num_steps": 260})
    assert config == alike and config.model.recurrent_dim


def test_what_was_measured_once_is_kept_and_is_whole(tmp_path, monkeypatch):
    timed = planted(monkeypatch, attention=[1.0], own=[4.0])
    first = equal_seconds.matched(CONFIG, TASK, tmp_path)
    planted(monkeypatch, attention=[1.0], own=[2.0])
    assert equal_seconds.matched(CONFIG, TASK, tmp_path) == first and len(timed) == 2
    assert json.loads((tmp_path / equal_seconds.FILE).read_text()) == first[1]
    assert [path.name for path in tmp_path.iterdir()] == [equal_seconds.FILE]
    assert equal_seconds.matched(CONFIG, TASK, tmp_path / "other")[1]["trained_steps"] == 520


def test_a_warm_up_stays_and_takes_no_more_than_a_quarter(tmp_path, monkeypatch):
    for ratio, steps, warmup in ((4, 260, 60), (5, 200, 50), (100, 20, 5)):
        planted(monkeypatch, attention=[1.0], own=[float(ratio)])
        train = equal_seconds.matched(CONFIG, TASK, tmp_path / str(ratio))[0].train
        assert (train.num_steps, train.warmup_steps) == (steps, warmup)


@pytest.mark.parametrize("override", [{"model.mixer": "attention"}, *({"measure.matching": one} for one in
                                      ("width", "params", "flops"))])  # fmt: skip
def test_attention_and_what_counts_no_seconds_is_matched_as_elsewhere(tmp_path, override):
    config = with_overrides(CONFIG, override)
    shared = "params" if config.model.mixer == "attention" else config.measure.matching
    expected = matching.matched(config, TASK.shape, shared)
    assert equal_seconds.matched(config, TASK, tmp_path / "cell") == (expected, {})
    assert not (tmp_path / "cell").exists()


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_chunk_is_one_of_training_and_its_seconds_are_those_of_a_step(monkeypatch, lanes):
    ticks = count()
    monkeypatch.setattr(equal_seconds.time, "perf_counter", lambda: next(ticks))
    chunk = equal_seconds._chunk(with_overrides(CONFIG, {"train.lanes": lanes}), TASK)
    assert chunk() == chunk() == 0.5  # a tick for two steps: the longest chunk that divides 20 and is 2 or 3
