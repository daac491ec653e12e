"""Subwords: no text is lost, equal texts give equal bytes, and marks inside a text are text."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError
from transformer_jax.tasks import tokenizer

TEXTS = [f"{n} small dogs run to the {'river' if n % 3 else 'garden'}, says the clérk." for n in range(40)]
CODEC = tokenizer.train(TEXTS, 300)


@settings(max_examples=60)
@given(st.text())
@example("  two  spaces\n\tand\r\n more \u2028")
@example("<end> of <pad><begin>")
@example("e\u0301 is not \u00e9, \ufb01 is not fi, \U0001d4b3")
def test_every_text_comes_back(text):
    ids = CODEC.encode(text).tolist()
    assert CODEC.decode(ids) == text and min(ids, default=3) > 2
    assert CODEC.decode([1, *ids, 2, *ids]) == text


def test_frequent_neighbours_become_one_token():
    assert CODEC.size == 300 and CODEC.tokens(CODEC.encode(" dogs run").tolist() + [2]) == [" dogs", " run", "<end>"]
    assert len(CODEC.encode("zygote")) > 4
    assert CODEC.tokens(CODEC.encode("ß")) == ["\ufffd", "\ufffd"]  # two bytes, each no character


def test_the_same_texts_give_the_same_bytes_and_equal_ones_are_one_object():
    assert tokenizer.train(iter(TEXTS), 300) is CODEC is tokenizer.load(CODEC.json)
    other = tokenizer.train([*TEXTS, "zygote zygote zygote"], 300)
    assert other is not CODEC and other.json != CODEC.json


def test_its_json_is_read_by_the_library_alone():
    from tokenizers import Tokenizer

    assert Tokenizer.from_str(CODEC.json.decode()).encode(TEXTS[0]).ids == CODEC.encode(TEXTS[0]).tolist()
    assert list(json.loads(CODEC.json)["model"]["vocab"])[:3] == ["<pad>", "<begin>", "<end>"]


def test_little_text_gives_a_small_vocabulary():
    assert tokenizer.train(["ab ab"], 300).size == 259 + 2  # "ab" and " ab"


def test_a_vocabulary_without_room_for_all_bytes_is_refused():
    with pytest.raises(ConfigError, match="task.vocab_size=258: subwords take at least 259"):
        tokenizer.train(TEXTS, 258)
    assert tokenizer.train(TEXTS, 259).decode(tokenizer.train(TEXTS, 259).encode("any")) == "any"


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ValueError, match="no UTF-8"):
        CODEC.encode(b"caf\xe9".decode(errors="surrogateescape"))
