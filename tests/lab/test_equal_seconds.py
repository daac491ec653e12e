"""As many seconds as attention: the steps are those that fit, are measured in turns, once, and kept with the cell."""

import json
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig, with_overrides
from transformer_jax.lab import equal_seconds, plan
from transformer_jax.measure import matching
from transformer_jax.tasks import associative_recall

CONFIG = Config(
    model=ModelConfig(mixer="gru", d_model=32, num_heads=2, num_layers=1, mlp_dim=8, max_len=16),
    task=TaskConfig(name="associative_recall", vocab_size=16, num_items=2, seq_len=8, batch_size=4),
    train=TrainConfig(num_steps=1040, warmup_steps=60, chunk_steps=3, eval_every=20, checkpoint_every=20, lanes=2),
    measure=equal_seconds.Axes(matching="seconds"),
)
TASK = associative_recall.build(CONFIG)


@given(st.integers(10, 200), st.integers(1, 400), st.integers(1, 5), st.floats(0.05, 150), st.floats(0, 0.3))
def test_a_training_is_divided_as_attentions_and_takes_as_long(evaluations, eval_every, apart, ratio, warm):
    num_steps = evaluations * eval_every
    train = TrainConfig(num_steps=num_steps, warmup_steps=int(warm * num_steps), eval_every=eval_every,
                        checkpoint_every=apart * eval_every)  # fmt: skip
    own = equal_seconds.in_the_same_seconds(train, ratio)
    if eval_every < ratio:  # no evaluation lies between two steps
        assert own["train.eval_every"] == 1
    else:
        assert eval_every / 2 < own["train.eval_every"] * ratio <= eval_every * (1 + 1e-9)
    off = abs(own["train.num_steps"] * ratio - num_steps)
    assert off <= max(ratio, own["train.eval_every"] * ratio) / 2 * (1 + 1e-9) or own["train.num_steps"] == 1
    if num_steps >= 10 * max(ratio, eval_every):
        assert off <= 0.0501 * num_steps
    assert own["train.num_steps"] % own["train.eval_every"] == 0
    assert own["train.checkpoint_every"] == apart * own["train.eval_every"]
    share = train.warmup_steps / num_steps
    assert abs(own["train.warmup_steps"] - share * num_steps / ratio) <= 1 or own["train.num_steps"] < 4


@pytest.mark.parametrize("ratio", [0.3, 1, 4, 16, 60, 150])
@pytest.mark.parametrize("name", ["recall", "long_range"])
def test_a_recurrence_of_a_full_size_gets_attentions_seconds_within_5_percent(name, ratio):
    """Rounded to evaluations of attention it got 120 % of them at a ratio of 60, and 150 % at 150."""
    full = plan.load(name, size="full")
    planned = plan.plan(full.cells, wanted={"matching": ["seconds"]}, studies=full.studies)
    attention = plan.plan(full.cells, wanted={"mixer": ["attention"]}, studies=full.studies)
    assert planned and {one.config.train for one in planned} <= {one.config.train for one in attention}
    for train in {cell.config.train for cell in planned}:
        own = with_overrides(train_of(train), equal_seconds.in_the_same_seconds(train, ratio)).train
        assert own.num_steps * ratio == pytest.approx(train.num_steps, rel=0.05)
        assert own.warmup_steps / own.num_steps == pytest.approx(train.warmup_steps / train.num_steps, rel=0.25)
        points, attentions = own.num_steps / own.eval_every, train.num_steps / train.eval_every
        assert points == own.num_steps or 0.95 * attentions <= points <= 2 * attentions


def train_of(train):
    return Config(CONFIG.model, CONFIG.task, train)


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
    attention = [1.0, 5.0, *9 * [1.0]]  # slow in the second turn
    timed = planted(monkeypatch, attention, own=[4.0, 20.0, 90.0, *8 * [4.0]])
    config, found = equal_seconds.matched(CONFIG, TASK, tmp_path / "cell")
    assert timed == [*5 * ["attention", "gru", "gru", "attention"], "attention", "gru"]
    names = ["trained_steps", "step_seconds_ratio", "step_seconds_ratio_low", "step_seconds_ratio_high"]
    assert list(found) == [*names, "attention_step_seconds"]
    assert found["trained_steps"] == 260 and found["attention_step_seconds"] == 1.0
    assert [found[name] for name in names[1:3]] == pytest.approx([4.0, 4.0]) and found[names[3]] > 4.0
    own = {"train.num_steps": 260, "train.warmup_steps": 15, "train.eval_every": 5, "train.checkpoint_every": 5}
    assert config == with_overrides(matching.matched(CONFIG, TASK.shape, "params"), own)
    assert config.model.recurrent_dim


def test_what_was_measured_once_is_kept_and_is_whole(tmp_path, monkeypatch):
    timed = planted(monkeypatch, attention=[1.0, 1.0], own=[4.0, 5.0])
    first = equal_seconds.matched(CONFIG, TASK, tmp_path)
    planted(monkeypatch, attention=[1.0], own=[2.0])
    assert equal_seconds.matched(CONFIG, TASK, tmp_path) == first and len(timed) == 4
    kept = json.loads((tmp_path / equal_seconds.FILE).read_text())
    assert {"trained_steps": first[0].train.num_steps} | kept == first[1]
    assert kept["step_seconds_ratio_low"] < kept["step_seconds_ratio"] < kept["step_seconds_ratio_high"]
    assert [path.name for path in tmp_path.iterdir()] == [equal_seconds.FILE]
    assert equal_seconds.matched(CONFIG, TASK, tmp_path / "other")[1]["trained_steps"] == 520


def test_a_warm_up_takes_the_same_share_and_leaves_steps_after_it():
    def of(ratio, **train):
        own = equal_seconds.in_the_same_seconds(replace(CONFIG.train, **train), ratio)
        return own["train.num_steps"], own["train.warmup_steps"]

    assert [of(ratio) for ratio in (0.5, 4, 10, 104)] == [(2080, 120), (260, 15), (104, 6), (10, 1)]
    assert of(4, warmup_steps=0) == (260, 0) and of(520) == (2, 0) and of(5000) == (1, 0)


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
