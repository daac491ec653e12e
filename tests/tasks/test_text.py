"""A text of the user's own: cut by position, as characters or subwords, and what its files must not be."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError
from transformer_jax.host.folders import FolderError
from transformer_jax.tasks import prepare, raw, registry, sets, text, text_file

SPLITS = ("train", "validation", "test")
TEXT = "".join(f"{n} times {n} is {n * n}, said the clerk.\n" for n in range(100, 160))


@pytest.fixture
def novel(tmp_path):
    """novel(content, ...) -> the data folder, with the set "novel" prepared from a file of that content."""

    def make(content: str | bytes, name: str = "novel.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        prepare.prepare_own("text", "novel", path, tmp_path / "data")
        return tmp_path / "data"

    return make


def lying(data) -> dict[str, str]:
    builder = sets.open_set("novel", data)
    return {s: "".join(r["text"].decode() for r in sets.records(builder, s)) for s in builder.info.splits}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_it_is_cut_by_position_and_nothing_is_lost(novel, pack):
    r"""A byte order mark is no part of it, and a line ends with \n."""
    whole = TEXT + "é – ü\n"
    found = lying(novel(pack(("\ufeff" + whole.replace("\n", "\r\n")).encode()), "novel"))
    assert tuple(found) == SPLITS and "".join(found.values()) == whole
    assert len(found["train"]) == int(0.9 * len(whole)) and abs(len(found["validation"]) - len(found["test"])) <= 1


@settings(max_examples=40)
@given(st.text(st.characters(exclude_characters="\0\r\ufeff", exclude_categories=["Cs"]), min_size=40, max_size=300))
def test_any_text_is_cut_without_loss(tmp_path_factory, whole):
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes(whole.encode())
    parts = text_file.split(text_file.read(path))
    assert "".join(parts.values()) == whole and all(len(part) >= 2 for part in parts.values())


def test_a_long_text_lies_in_pieces_that_follow_each_other(novel, monkeypatch):
    monkeypatch.setattr(text_file, "PIECE", 100)
    data = novel(TEXT)
    assert "".join(lying(data).values()) == TEXT
    assert sets.open_set("novel", data).info.splits["train"].num_examples == -(-int(0.9 * len(TEXT)) // 100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc\n" * 20 + b"d\xe9j\xe0 vu\n", r"novel.txt, line 21: byte 82 of the file \(0xe9\) is not UTF-8"),
        (b"abc\n" * 20 + "x".encode("utf-16-le") * 9, "line 21 has a NUL character"),
        (b"short", "holds 5 characters, blanks at its ends left out: cut by position, a text needs 40"),
        (b"  \n" * 40, "holds 0 characters, blanks at its ends left out"),
        (b"", "holds 0 characters"),
        (gzip.compress(TEXT.encode())[:-9], "novel.txt cannot be read"),
    ],
)
def test_what_is_no_text_is_refused_and_nothing_is_written(novel, tmp_path, content, message):
    with pytest.raises(raw.BadSource, match=message):
        novel(content)
    assert not (tmp_path / "data").exists()


def test_a_file_that_changed_after_it_was_prepared_is_refused(novel, tmp_path):
    data = novel(TEXT)
    assert novel(TEXT) == data  # the same file: nothing to do
    with pytest.raises(FolderError, match=r"made from other sources \(novel.txt has changed\)"):
        novel(TEXT + "more\n")
    with pytest.raises(FileNotFoundError, match="is a folder: --from takes the file itself; it holds novel.txt"):
        prepare.prepare_own("text", "other", tmp_path, data)
    with pytest.raises(FileNotFoundError, match="lacks nowel.txt; it holds .*; did you mean novel.txt?"):
        prepare.prepare_own("text", "other", tmp_path / "nowel.txt", data)


def test_a_published_text_keeps_its_name_and_the_message_has_the_command(tmp_path):
    (tmp_path / "input.txt").write_text(TEXT)
    with pytest.raises(raw.BadSource, match="not the published one(.|\n)*prepare text --from FILE.txt --name mine"):
        prepare.prepare("tiny_shakespeare", tmp_path, tmp_path / "data")


@pytest.fixture
def task_of(novel, config_of):
    def make(content=TEXT, files=(), **fields):
        novel(content)
        return registry.build(config_of("novel", **{"seq_len": 11, "batch_size": 3} | fields), files)

    return make


def test_characters_are_those_of_the_training_part(task_of):
    task = task_of()
    train = TEXT[: int(0.9 * len(TEXT))]
    assert task.shape.vocab_size == len(set(train)) + 1  # and the unknown one
    targets = np.concatenate([b["targets"][b["weights"] > 0] for b in task.evaluate("train")])
    assert task.decode(targets) == train[1:]


def test_a_character_that_training_lacks_is_read_as_unknown_not_asked_for_and_said(task_of, tmp_path):
    cut = int(0.92 * len(TEXT))
    whole = TEXT[:cut] + "§¶§" + TEXT[cut:]
    task = task_of(whole)
    parts = text_file.split(whole)
    (lengths, note) = text_file.about(parts)
    assert f"train {len(parts['train']):,}" in lengths and "position" in lengths
    assert "3 of its characters ('§' '¶') do not occur" in note
    where = next(name for name in ("validation", "test") if "§" in parts[name])
    batches = list(task.evaluate(where))
    unknown = task.shape.vocab_size - 1
    seen = sum(int(((b["inputs"] == unknown) * (b["weights"] > 0)).sum()) for b in batches)
    assert 1 <= seen <= 3
    asked = np.concatenate([b["targets"][b["weights"] > 0] for b in batches])
    assert task.decode(asked) == parts[where][1:].replace("§", "").replace("¶", "")
    assert not (asked == unknown).any() and task.decode([unknown]) == "\ufffd"
    assert task.describe()["unknown"]["train"] == 0
    with pytest.raises(ValueError, match="'§' does not occur in the training text"):
        task.encode("a§")


def test_subwords_read_any_text_and_are_fitted_on_the_training_part(task_of):
    task = task_of(TEXT, tokens="subwords", vocab_size=300)
    assert task.shape.vocab_size <= 300 and set(task.files) == {text.SUBWORDS}
    for some in ("said the clerk", "§ and ü\n", TEXT):
        assert task.decode(task.encode(some).tolist()) == some
    ids = np.concatenate([b["targets"][b["weights"] > 0] for b in task.evaluate("train")])
    train = TEXT[: int(0.9 * len(TEXT))]
    assert len(ids) < len(train) / 2 and train.endswith(task.decode(ids.tolist()))
    described = task.describe()
    assert described["counts"]["train"] == len(ids) + 1 and described["characters"]["train"] == len(train)


@pytest.mark.parametrize("fields", [{}, {"tokens": "subwords", "vocab_size": 300}])
def test_a_run_keeps_its_vocabulary_and_needs_no_set_to_read_and_write(task_of, config_of, tmp_path, fields):
    task = task_of(**fields)
    files = tuple(task.files.items())
    elsewhere = config_of("novel", seq_len=11, batch_size=3, data_dir=str(tmp_path / "nowhere"), **fields)
    again = registry.build(elsewhere, files)
    assert again.shape == task.shape and again.decode(again.encode("said").tolist()) == "said"
    with pytest.raises(sets.MissingData):
        list(again.evaluate("validation"))


def test_what_cannot_be_asked_of_a_text(task_of, config_of):
    with pytest.raises(ConfigError, match="task.seq_len=999: the validation text has"):
        task_of(seq_len=999)
    with pytest.raises(ConfigError, match="task.vocab_size=99: subwords take at least 259"):
        registry.build(config_of("novel", seq_len=11, tokens="subwords", vocab_size=99))
    with pytest.raises(ConfigError, match="task.tokens='words': must be one of|task.tokens='words'"):
        config_of("novel", tokens="words")
