"""Files of word vectors: both formats, every rule with its line, and what a vocabulary gets of them."""

import hashlib

import numpy as np
import pytest

from transformer_jax.config import ConfigError
from transformer_jax.tasks import registry, vectors

WORDS = [None, None, "film", "good", "it's", "très"]
ROWS = ["good 0.5 -1 2e-1", "very_bad 9 9 9", "film 1 2 3", "très -0.0 4 0.25"]
FOUND = {"film": [1, 2, 3], "good": [0.5, -1, 0.2], "très": [0, 4, 0.25]}


@pytest.fixture
def write(tmp_path):
    def to_file(*lines, end="\n"):
        path = tmp_path / "vectors.txt"
        path.write_bytes(b"".join((one if isinstance(one, bytes) else one.encode()) + end.encode() for one in lines))
        return path

    return to_file


@pytest.mark.parametrize("header", [(), ("4 3",)])
@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_words_get_the_files_numbers_in_either_format(write, header, end):
    path = write(*header, *ROWS, end=end)
    table_VxW, missing, sha256 = vectors.read(path, WORDS)
    assert table_VxW.shape == (6, 3) and table_VxW.dtype == np.float32
    for word, row in FOUND.items():
        np.testing.assert_array_equal(table_VxW[WORDS.index(word)], np.float32(row))
    assert missing == ("it's",) and sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not np.signbit(table_VxW[5, 0])  # an update of zero would turn -0.0 into 0.0


def test_what_the_file_lacks_is_drawn_of_its_scale_by_id(write):
    lines = [f"w{i} " + " ".join(str(x) for x in np.random.default_rng(i).normal(0, 3, 40)) for i in range(30)]
    words = [None, *(f"w{i}" for i in range(15)), *(f"x{i}" for i in range(200))]
    table_VxW, missing, _ = vectors.read(write(*lines), words)
    assert len(missing) == 200 and np.isfinite(table_VxW).all()
    found, drawn = table_VxW[1:16], table_VxW[16:]
    assert drawn.std() == pytest.approx(np.sqrt(np.mean(found**2)), rel=0.05) and abs(drawn.mean()) < 0.2
    again, *_ = vectors.read(write(*lines), words)
    np.testing.assert_array_equal(again, table_VxW)


def test_a_word_may_hold_a_space_as_in_gloves_largest_set(write):
    table_VxW, missing, _ = vectors.read(write(*ROWS, ". . 1 2 3", "at film 4 5 6", "fi\u00a0lm 7 8 9"), WORDS)
    assert table_VxW[2].tolist() == [1, 2, 3] and missing == ("it's",)


BROKEN = {
    "a row with too few numbers": ([*ROWS, "short 1 2"], 5, "2 numbers, where .* say 3"),
    "a row with too many numbers": ([*ROWS, "long 1 2 3 4"], 5, "4 numbers, where .* say 3"),
    "rows that are not of the announced width": (["4 2", *ROWS], 2, "3 numbers, where .* say 2"),
    "a word twice": ([*ROWS, "film 1 2 3"], 5, "the word 'film' has a vector already, in line 3"),
    "a word without numbers": ([*ROWS, "film"], 5, "a word and its numbers"),
    "an empty line": ([ROWS[0], "", ROWS[1]], 2, "a word and its numbers"),
    "no number": ([ROWS[0], "bad 1 x 3"], 2, "'x' is not a number"),
    "no number at first": ([ROWS[0], "bad x 2 3"], 2, "'x' is not a number"),
    "no number in the first row": (["the quick brown fox"], 1, "'quick' is not a number"),
    "not a number by name": ([ROWS[0], "bad 1 nan 3"], 2, "'nan' is not a number"),
    "a number as programs write it": ([ROWS[0], "bad 1 1_0 3"], 2, "'1_0' is not a number"),
    "too large for float32": ([ROWS[0], "bad 1 1e39 3"], 2, "not finite in float32"),
    "bytes that are no UTF-8": ([ROWS[0], b"tr\xe8s 1 2 3"], 2, "0xe8 is no UTF-8"),
    "numbers in binary": (["4 3", b"film \xcd\xcc\x4c\x3e"], 2, "no UTF-8: the file must be in the text format"),
    "fewer rows than announced": (["5 3", *ROWS], 1, "announces 5 vectors, and 4 follow"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_named_with_file_and_line(write, case):
    lines, number, rule = BROKEN[case]
    path = write(*lines)
    with pytest.raises(ConfigError, match=f"^task.vectors={path}, line {number}: .*{rule}"):
        vectors.read(path, WORDS)


@pytest.mark.parametrize("lines", [(), ("0 3",)])
def test_an_empty_file(write, lines):
    with pytest.raises(ConfigError, match="vectors.txt is empty"):
        vectors.read(write(*lines), WORDS)


def test_a_file_that_is_not_there_or_a_folder_or_of_other_words(write, tmp_path):
    with pytest.raises(ConfigError, match="none.txt cannot be read: No such file"):
        vectors.read(tmp_path / "none.txt", WORDS)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        vectors.read(tmp_path, WORDS)
    with pytest.raises(ConfigError, match="has none of the vocabulary's 4 words \\(film, good, it's, ...\\)"):
        vectors.read(write("FILM 1 2 3"), WORDS)


def test_a_person_and_the_record_are_told_what_was_found(write):
    path = write(*ROWS)
    given = vectors.WordVectors(str(path), WORDS, frozen=True)
    assert given.describe() == {
        "file": str(path), "sha256": given.sha256, "frozen": True, "found": 3, "missing": 1, "width": 3,
    }  # fmt: skip
    assert given.text() == (
        f"{path} has vectors of 3 of the vocabulary's 4 words; those of the other 1 are drawn at random (it's); none of"
        " them is trained"
    )
    assert vectors.WordVectors(str(path), WORDS[:4], frozen=False).text().endswith("2 words; they are trained further")


def test_imdb_has_them_and_reads_the_file_only_when_asked(made, imdb_files, config_of, write):
    made("imdb_reviews", imdb_files, train=70)
    path = write("film 1 2 3", "very 4 5 6", "unseen 7 8 9")
    task = registry.build(config_of("imdb", seq_len=12, vocab_size=60, vectors=str(path)))
    film, very = task.encode("film very")
    assert task.vectors.frozen and len(task.vectors.table_VxW) == task.shape.vocab_size
    np.testing.assert_array_equal(task.vectors.table_VxW[[film, very]], [[1, 2, 3], [4, 5, 6]])
    recorded = task.describe()["vectors"]
    assert (recorded["found"], recorded["found"] + recorded["missing"]) == (2, task.shape.vocab_size - 2)
    assert registry.build(config_of("imdb", vectors="nowhere")).decode([film]) == "film"


def test_a_task_without_words_says_so(config_of):
    with pytest.raises(
        ConfigError, match="task.vectors=a.txt: digits has no vocabulary of words; imdb or sst2 has one"
    ):
        registry.build(config_of("digits", vectors="a.txt"))
