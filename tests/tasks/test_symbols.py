"""Listed symbols: ids by place, special ids, and what has no id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.tasks.symbols import BEGIN, END, PADDING, Symbols

CODEC = Symbols(["do", "re", "mi"], str.split, " ", "note")


def test_ids_follow_the_special_ones():
    assert (PADDING, BEGIN, END) == (0, 1, 2) and CODEC.size == 6
    assert CODEC.encode("mi do re do").tolist() == [5, 3, 4, 3]
    assert CODEC.tokens([1, 5, 2, 0]) == ["<begin>", "mi", "<end>", "<pad>"]


@given(st.lists(st.sampled_from(["do", "re", "mi"])), st.lists(st.integers(0, 5)))
def test_a_text_ends_at_the_first_end(symbols, rest):
    ids = CODEC.encode(" ".join(symbols)).tolist()
    assert CODEC.decode([BEGIN, PADDING, *ids, END, *rest]) == " ".join(symbols)


def test_what_has_no_id_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="'ree' is no note; did you mean re"):
        CODEC.encode("do ree mi")
