"""Configs say what is wrong, where, and what was meant; one config has one text and one key."""

import dataclasses
import itertools
import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from transformer_jax import config as c
from transformer_jax.config import Config, ConfigError, flatten, from_flat, with_overrides
from transformer_jax.config.continual import StreamConfig
from transformer_jax.config.model import Recurrence


@pytest.mark.parametrize("name", configs.names())
def test_every_config_builds_and_says_what_it_is(name):
    assert isinstance(configs.get(name), Config)
    assert len(__import__(f"configs.{name}", fromlist=["x"]).__doc__) > 80


def test_an_unknown_config_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean bench"):
        configs.get("bensh")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.num_head": 8}, "unknown config key 'model.num_head'; did you mean model.num_heads"),
        ({"num_heads": 8}, "did you mean model.num_heads"),
        ({"model.d-modle": 8}, "did you mean model.d_model"),
        ({"model.num_heads": 3}, "not divisible by model.num_heads=3"),
        ({"model.num_kv_heads": 3}, "model.num_heads=4 is not a multiple of model.num_kv_heads=3"),
        ({"model.num_layers": -1}, "model.num_layers=-1: must be at least 0"),
        ({"task.seq_len": 0}, "task.seq_len=0: must be at least 1"),
        ({"model.mixer": "lstn"}, "did you mean lstm"),
        ({"model.attention": "flash"}, "must be one of auto, reference"),
        ({"model.d_model": "64"}, "model.d_model='64': must be a whole number"),
        ({"model.d_model": 64.0}, "must be a whole number"),
        ({"model.d_model": True}, "must be a whole number"),
        ({"model.scan_layers": 1}, "must be true or false"),
        ({"model.dropout_rate": 1.0}, r"must lie in \[0, 1\)"),
        ({"train.peak_lr": float("nan")}, "train.peak_lr=nan: must be positive"),
        ({"model.max_len": 8}, "is longer than model.max_len=8"),
        ({"model.position": "rotary", "model.head_dim": 3}, "must be even"),
        ({"train.lanes": 2, "train.same_seed": True}, "train.lanes=2 of one seed are one run, unless each has a rate"),
        ({"train.lanes": 2, "train.lane_lrs": (1.0, 1.0), "train.same_seed": True}, "unless each has a rate of its"),
    ],
)
def test_what_cannot_be_says_why(overrides, message):
    with pytest.raises(ConfigError, match=message):
        with_overrides(Config(), overrides)


def test_heads_mean_nothing_to_a_recurrence():
    assert with_overrides(Config(), {"model.mixer": "lstm", "model.num_heads": 3}).model.num_heads == 3


def test_names_from_elsewhere_are_no_keys_and_stand_for_keys():
    names = {key.rpartition(".")[2] for key in flatten(StreamConfig())}
    assert set(Config.ELSEWHERE.values()) <= names and not names & set(Config.ELSEWHERE)


def test_overrides_apply_together():
    """128 / 6 is not whole: one at a time, neither order would pass."""
    config = with_overrides(Config(), {"model.num_heads": 6, "model.d_model": 96})
    assert (config.model.num_heads, config.model.d_model) == (6, 96)


@given(
    st.sampled_from([1, 2, 4]),
    st.integers(1, 9),
    st.floats(1e-6, 1.0),
    st.sampled_from(list(c.MIXERS)),
    st.booleans(),
)
def test_flat_and_back(num_heads, num_layers, peak_lr, mixer, remat):
    overrides = {
        "model.num_heads": num_heads,
        "model.num_layers": num_layers,
        "train.peak_lr": peak_lr,
        "model.mixer": mixer,
        "model.remat": remat,
    }
    config = with_overrides(Config(), overrides)
    assert flatten(config) | overrides == flatten(config)
    assert from_flat(json.loads(json.dumps(flatten(config)))) == config
    assert c.canonical_json(config) == c.canonical_json(from_flat(flatten(config)))
    assert hash(config) == hash(from_flat(flatten(config)))


def test_the_text_tells_configs_apart_and_can_leave_keys_out():
    one, other = Config(), with_overrides(Config(), {"measure.rounds": 9})
    assert c.canonical_json(one) != c.canonical_json(other)
    assert c.canonical_json(one, ("measure.rounds",)) == c.canonical_json(other, ("measure.rounds",))
    assert c.content_key("a", "b") != c.content_key("ab")


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.d_model = 3


def test_a_recurrence_runs_only_as_it_can():
    from transformer_jax.ops.recurrence import RECURRENCE

    forms = {name: (*recurrence.forms, *recurrence.projecting) for name, recurrence in RECURRENCE.items()}
    assert forms == {name: mixer.forms for name, mixer in c.MIXERS.items() if name != "attention"}
    assert set(get_args(Recurrence)) == {"auto", *itertools.chain(*forms.values())}
    assert c.ModelConfig(mixer="min_gru", recurrence="associative").recurrence == "associative"
    assert c.ModelConfig(mixer="attention", recurrence="associative")  # ignored, as attention's by a recurrence
    with pytest.raises(c.ConfigError, match="lstm runs as auto or sequential or cudnn"):
        c.ModelConfig(mixer="lstm", recurrence="associative")


def test_a_mixer_says_what_it_reads_and_how_large_it_is():
    attention = c.ModelConfig(d_model=96, num_heads=6, num_kv_heads=2)
    assert attention.sizes == {"num_heads": 6, "num_kv_heads": 2, "head_dim": 16}
    lstm = c.ModelConfig(mixer="lstm", d_model=96)
    assert lstm.sizes == {"width": 96, "project_out": False}
    assert dataclasses.replace(lstm, recurrent_dim=40).sizes == {"width": 40, "project_out": True}
    for model in (attention, lstm):
        others = set(model.unread)
        assert others.isdisjoint(c.MIXERS[model.mixer].reads)
        assert others <= {field.name for field in dataclasses.fields(model)}
    assert {*attention.unread} == {"recurrence", "recurrent_dim", "bidirectional"} and "num_heads" in lstm.unread


def test_positions_are_the_mixers_own_unless_a_config_names_some():
    """Sinusoidal positions cost an LSTM, which knows the order, eight times the steps on parity."""
    assert c.ModelConfig().positions == "sinusoidal" and c.ModelConfig(mixer="gru").positions == "none"
    assert c.ModelConfig(mixer="gru", position="learned").positions == "learned"


def test_a_run_shorter_than_its_warm_up_says_what_to_add():
    with pytest.raises(ConfigError, match="num_steps=50 .*add --train.warmup-steps 5"):
        c.TrainConfig(num_steps=50, warmup_steps=100)


def test_a_score_that_a_recurrent_decoder_does_not_have():
    for score in ("additive", "general", "dot"):
        assert c.ModelConfig(mixer="gru", score=score).score == score
    for score in ("scaled_dot", "cosine"):
        with pytest.raises(c.ConfigError, match=f"{score}: a recurrent decoder attends by auto or additive"):
            c.ModelConfig(mixer="gru", score=score)
