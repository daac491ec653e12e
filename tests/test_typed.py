"""Dataclasses with sections in sections: dotted keys, words of a command line, and what is said of a wrong one."""

from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax import typed
from transformer_jax.typed import ConfigError


@dataclass(frozen=True)
class Inner:
    """A part with fields of its own."""

    kind: Literal["pre", "post"] = "pre"
    """Before or
    after."""
    width: int | None = None
    rates: tuple[float, ...] = ()
    on: bool = False


@dataclass(frozen=True)
class Part:
    inner: Inner = field(default_factory=Inner)
    name: str = "a"


@dataclass(frozen=True)
class Whole:
    part: Part = field(default_factory=Part)
    rate: float = 0.5


def test_sections_nest_to_any_depth():
    flat = {"part.inner.kind": "pre", "part.inner.width": None, "part.inner.rates": (), "part.inner.on": False}
    assert typed.flatten(Whole()) == flat | {"part.name": "a", "rate": 0.5}
    changed = typed.with_overrides(Whole(), {"part.inner.width": 3, "part.name": "b", "rate": 1.0})
    assert (changed.part.inner, changed.part.name, changed.rate) == (Inner(width=3), "b", 1.0)
    assert Whole().part.inner.width is None


@given(
    st.fixed_dictionaries(
        {
            "part.inner.kind": st.sampled_from(["pre", "post"]),
            "part.inner.width": st.none() | st.integers(-5, 2**40),
            "part.inner.rates": st.lists(st.floats(allow_nan=False), min_size=1).map(tuple),
            "part.inner.on": st.booleans(),
            "part.name": st.text(min_size=1),
            "rate": st.floats(allow_nan=False),
        }
    )
)
def test_what_is_written_on_a_command_line_is_read_back(values):
    words = {k: [str(v) for v in value] if isinstance(value, tuple) else [str(value)] for k, value in values.items()}
    assert typed.flatten(typed.with_texts(Whole(), words)) == values


@pytest.mark.parametrize(
    ("key", "words", "message"),
    [
        ("part.inner.knd", ["pre"], "no option --part.inner.knd; did you mean --part.inner.kind?"),
        ("width", ["3"], "did you mean --part.inner.width?"),
        ("prt.xyz", ["3"], "no option --prt.xyz; known sections: part.inner, part"),
        ("part.inner.kind", ["pst"], "--part.inner.kind must be one of pre, post, not pst; did you mean post?"),
        ("part.inner.width", ["3.5"], "--part.inner.width must be a whole number or none, not 3.5"),
        ("part.inner.width", [], "--part.inner.width must be a whole number or none, not nothing"),
        ("part.inner.on", ["yes"], "--part.inner.on must be true or false, not yes"),
        ("part.inner.rates", ["1", "x"], "must be a number, or several with blanks or commas between them, not 1 x"),
        ("rate", ["1", "2"], "--rate must be a number, not 1 2"),
        ("rate", ["a", "b"], "--rate must be a number, not a b"),
    ],
)
def test_wrong_words_are_one_message(key, words, message):
    with pytest.raises(ConfigError) as raised:
        typed.read(Whole(), key, words)
    assert message in str(raised.value)


def test_fields_are_documented_by_the_text_below_them():
    assert typed.documentation(Inner) == {"kind": "Before or after."}


def test_a_part_of_a_name_or_a_sections_name_is_enough_to_be_understood():
    known = ["train.peak_lr", "train.seed", "model.width", "out"]
    assert typed.nearest("train.lr", known, option=True) == "; did you mean --train.peak-lr?"
    assert typed.nearest("--lr", known, option=True) == "; did you mean --train.peak-lr?"
    assert typed.nearest("--train", known, option=True) == "; known: --train.peak-lr, --train.seed"
    assert typed.nearest("x", []) == "; there is none"
    alike = ["digits_gru", "digits_stream", "digits_vit"]
    assert typed.nearest("digits_vti", alike) == "; did you mean digits_vit or digits_gru or digits_stream?"


def test_numbers_may_have_commas_between_them_and_texts_may_not():
    assert typed.read_as(tuple[float, ...], "--rates", ["1e-3,0.01", "2"]) == (0.001, 0.01, 2.0)
    assert typed.read_as(tuple[int, ...], "--lengths", ["8,16"]) == (8, 16)
    assert typed.read_as(tuple[str, ...], "--only", ["seq_len=8,16"]) == ("seq_len=8,16",)
    with pytest.raises(ConfigError, match="--rates must be a number, or several .*, not 1,,2"):
        typed.read_as(tuple[float, ...], "--rates", ["1,,2"])


def test_what_is_called_otherwise_elsewhere_is_understood_where_it_is_known_here():
    known, elsewhere = ["part.width", "part.seed", "rate"], {"hidden_size": "width", "momentum": "beta1"}
    for word in ("part.hidden_size", "prt.hidden-size", "--hidden-size"):
        assert typed.nearest(word, known, option=True, elsewhere=elsewhere) == "; did you mean --part.width?"
    both = [*known, "inner.hidden_size"]  # a name of one's own comes first
    assert typed.nearest("part.hidden_size", both, elsewhere=elsewhere) == "; did you mean inner.hidden_size?"
    assert typed.nearest("part.momentum", known, elsewhere=elsewhere) == "; known: part.width, part.seed"

    @dataclass(frozen=True)
    class Named(Whole):
        ELSEWHERE = {"hidden_size": "width"}

    with pytest.raises(ConfigError, match="unknown config key 'hidden_size'; did you mean part.inner.width?"):
        typed.with_overrides(Named(), {"hidden_size": 1})
    with pytest.raises(ConfigError, match="no option --part.hidden-size; did you mean --part.inner.width?"):
        typed.read(Named(), "part.hidden_size", ["1"])
