"""Sweeps: what grid and chain make, what pin and only keep, and how mistakes are named."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.config import ConfigError
from transformer_jax.lab.sweep import chain, grid, only, parse, pin

SWEEP = grid(
    {"model.mixer": ["attention", "lstm"], "model.num_heads": [1, 4], "task.seq_len": [64, 128, 256]},
    skip=lambda o: o["model.mixer"] == "lstm" and o["model.num_heads"] > 1,
)

axes = st.dictionaries(
    st.sampled_from(["a.x", "a.y", "b.x", "c.z"]),
    st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
    min_size=1,
)


@given(axes)
def test_grid_is_the_product_with_the_last_axis_fastest(axes):
    made = grid(axes)
    assert [tuple(o.values()) for o in made] == list(itertools.product(*axes.values()))
    assert all(list(o) == list(axes) for o in made)


def test_skip_leaves_combinations_out():
    assert len(SWEEP) == 2 * 3 + 3
    assert {"model.mixer": "lstm", "model.num_heads": 4, "task.seq_len": 64} not in SWEEP


def test_chain_joins_and_drops_repeats():
    assert chain([{"a.x": 1}, {"a.x": 2}], [{"a.x": 2}, {"a.y": 2}]) == [{"a.x": 1}, {"a.x": 2}, {"a.y": 2}]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"a.x": []}, "'a.x' must list at least one value"),
        ({"a.x": "lstm"}, "'a.x' must list at least one value, not 'lstm'"),
        ({"a.x": 3}, "'a.x' must list"),
    ],
)
def test_malformed_axes_are_refused(axes, message):
    with pytest.raises(ConfigError, match=message):
        grid(axes)


def test_pin_holds_a_swept_axis_and_collapses_what_becomes_equal():
    pinned = pin(SWEEP, {"model.num_heads": 2, "model.d_model": 64})
    assert pinned == grid(
        {"model.mixer": ["attention", "lstm"], "model.num_heads": [2], "task.seq_len": [64, 128, 256]}
    )


@given(axes, st.data())
def test_pinning_twice_changes_nothing_more(axes, data):
    key = data.draw(st.sampled_from(sorted(axes)))
    once = pin(grid(axes), {key: 77})
    assert once == pin(once, {key: 77})
    assert len(once) == len(grid(axes)) // len(axes[key])


def test_pin_keeps_true_apart_from_one():
    assert pin([{"a.x": True}, {"a.x": 1}], {}) == [{"a.x": True}, {"a.x": 1}]
    assert len(pin([{"a.x": True}, {"a.x": 1}], {})) == 2


def test_only_takes_the_last_component_or_the_whole_key():
    short = only(SWEEP, {"seq_len": ["64", "256"], "mixer": ["lstm"]})
    assert [o["task.seq_len"] for o in short] == [64, 256]
    assert short == only(SWEEP, {"task.seq_len": ["64", "256"], "model.mixer": ["lstm"]})
    assert only(SWEEP, {}) == SWEEP


@pytest.mark.parametrize(
    ("value", "text"), [(0.001, "1e-3"), (1, "1"), (True, "true"), (None, "none"), ("xla", "xla"), (2.0, "2")]
)
def test_only_reads_values_as_a_person_types_them(value, text):
    assert only([{"a.x": value}, {"a.x": "other"}], {"x": [text]}) == [{"a.x": value}]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"seq_length": ["64"]}, "no axis 'seq_length'; did you mean task.seq_len"),
        ({"seq_len": ["64", "65"]}, "no seq_len=65: task.seq_len takes 64, 128, 256"),
        ({"mixer": ["LSTN"]}, "the sweep has no mixer=LSTN; did you mean lstm?"),
        ({"mixer": ["lstm"], "num_heads": ["4"]}, "no cell of the sweep has all of mixer=lstm num_heads=4"),
    ],
)
def test_only_names_what_does_not_match(wanted, message):
    with pytest.raises(ConfigError, match=message):
        only(SWEEP, wanted)


def test_only_refuses_an_ambiguous_axis():
    with pytest.raises(ConfigError, match="'x' could be any of the sweep's axes a.x, b.x"):
        only(grid({"a.x": [1], "b.x": [1]}), {"x": ["1"]})


@pytest.mark.parametrize(("text", "right"), [("a=1,,2", "a=1,2"), ("a=64,", "a=64"), ("a=,", "a=value,value")])
def test_a_comma_without_a_value_is_named_with_the_right_spelling(text, right):
    with pytest.raises(ConfigError, match=f"^--only {text}: a value is missing beside a comma; write {right} without"):
        parse("--only", [text])


def test_parse():
    assert parse("--only", ["seq-len=64,128", "mixer=lstm"]) == {"seq_len": ["64", "128"], "mixer": ["lstm"]}
    for wrong in ("seq_len", "=3", "seq_len="):
        with pytest.raises(ConfigError, match="axis=value"):
            parse("--only", [wrong])
