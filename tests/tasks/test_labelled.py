"""Labelled texts of the user's own: tables read by their rules, cut into splits that share no text."""

import gzip
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError
from transformer_jax.host.folders import FolderError
from transformer_jax.tasks import labelled, prepare, raw, registry, sets, table_file

WORDS = ("bad", "fine", "good")


def tsv(*numbers: int, header: str = "text\tlabel") -> str:
    return header + "\n" + "".join(f"a {WORDS[n % 3]} film {n}\t{WORDS[n % 3]}\n" for n in numbers)


@pytest.fixture
def table(tmp_path):
    """table({file: text or bytes}) -> the path of the first one."""

    def make(files: dict[str, str | bytes]):
        folder = tmp_path / "tables"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / next(iter(files))

    return make


@pytest.fixture
def prepared(tmp_path):
    """prepared(path, **options) -> split -> its (text, label) pairs, as they lie on the disk."""

    def make(path, name="reviews", **options):
        data = tmp_path / "data"
        prepare.prepare_own("labelled", name, path, data, **options)
        builder = sets.open_set(name, data)
        found = {split: labelled.texts_of(builder, split) for split in builder.info.splits}
        return {split: list(zip(*texts, strict=True)) for split, texts in found.items()}

    return make


def test_equal_texts_are_in_one_split_chosen_by_their_hash(table, prepared):
    numbers = [*range(80), *reversed(range(80))]
    found = prepared(table({"all.tsv": tsv(*numbers)}))
    assert sorted(n for part in found.values() for n in part) == sorted(
        (f"a {WORDS[n % 3]} film {n}", WORDS[n % 3]) for n in numbers
    )
    texts = {split: {text for text, _ in part} for split, part in found.items()}
    by_hash = sorted({t for part in texts.values() for t in part}, key=lambda t: hashlib.sha256(t.encode()).hexdigest())
    assert texts == {"validation": {*by_hash[:4]}, "test": {*by_hash[4:8]}, "train": {*by_hash[8:]}}


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev"])
def test_files_that_lie_beside_are_the_other_splits(table, prepared, word):
    path = table({"train.tsv.gz": gzip.compress(tsv(*range(9)).encode()), f"{word}.tsv.gz": tsv(20, 21),
                  "test.tsv.gz": tsv(30)})  # fmt: skip
    found = prepared(path)
    assert [len(found[split]) for split in ("train", "validation", "test")] == [9, 2, 1]
    assert found["test"] == [("a bad film 30", "bad")]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0\ufeff\r", exclude_categories=["Cs"]), min_size=1).filter(
                lambda text: text.strip() == text and "\n" not in text
            ),
            st.sampled_from(WORDS),
        ),
        min_size=1,
    )
)
def test_quoted_fields_come_back_whatever_is_in_them(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "x.csv"
    lines = [
        "id,label,text",
        *(f'{i},{label},"{text.replace(chr(34), chr(34) * 2)}"' for i, (text, label) in enumerate(rows)),
    ]
    path.write_bytes("".join(line + "\r\n" for line in lines).encode())
    assert [tuple(fields) for _, fields in table_file.rows(path, ("text", "label"))] == rows


def test_a_quoted_field_may_hold_a_line_end_and_a_tab_file_has_no_quotes(table):
    path = table({"a.csv": 'text,label\n"two\nlines, ""quoted""",good\n'})
    assert list(table_file.rows(path, ("text", "label"))) == [(3, ['two\nlines, "quoted"', "good"])]
    path = table({"a.tsv": 'text\tlabel\n"half quoted\tgood\n\n'})
    assert list(table_file.rows(path, ("text", "label"))) == [(2, ['"half quoted', "good"])]


def test_columns_have_names_of_the_users_own(table, prepared):
    path = table({"a.tsv": tsv(*range(60), header="review\tstars")})
    found = prepared(path, text_column="review", label_column="stars")
    assert sum(map(len, found.values())) == 60
    with pytest.raises(FolderError, match="made from other sources"):
        prepared(path, text_column="stars", label_column="review")


GOOD = tsv(*range(60))
WRONG = {
    "no column": ({"a.tsv": GOOD.replace("label", "lable", 1)}, "line 1: the header names no column 'label'.*lable"),
    "a column twice": ({"a.tsv": "text\tlabel\ttext\nx\ty\tz\n"}, "line 1: the header names the column 'text' twice"),
    "one class": ({"a.tsv": GOOD.replace("bad\n", "good\n").replace("fine\n", "good\n")}, "have the label 'good'"),
    "empty text": ({"a.tsv": GOOD + "\tgood\n"}, "a.tsv, line 62: the column text is empty"),
    "empty label": ({"a.tsv": GOOD + "what\t \n"}, "a.tsv, line 62: the column label is empty"),
    "more fields": ({"a.tsv": GOOD + "x\ty\tgood\n"}, "a.tsv, line 62: 3 fields, and the header has 2 fields"),
    "fewer fields": ({"a.tsv": GOOD + "x\n"}, "a.tsv, line 62: 1 field, and the header has 2 fields"),
    "encoding": ({"a.tsv": GOOD.encode() + "déjà\tgood\n".encode("latin-1")}, r"line 62: byte 2 .*0xe9.* is not UTF-8"),
    "open quote": ({"a.csv": 'text,label\n"x,good\n'}, "a.csv, line 2: unexpected end of data"),
    "unseen label": ({"train.tsv": GOOD, "test.tsv": tsv(1) + "so so\tnew\n"},
                     "test.tsv, line 3: the label 'new' is in the test split and not in training"),
    "too few": ({"a.tsv": tsv(1, 2)}, "holds 2 different texts: too few to hold out validation and test"),
    "empty file": ({"a.tsv": b""}, "a.tsv is empty: its first line must name the columns text and label"),
    "another ending": ({"a.xlsx": GOOD}, "a table's name ends in .tsv, .tab, .csv"),
    "two validations": ({"train.tsv": GOOD, "val.tsv": tsv(1), "dev.tsv": tsv(2)}, "only one of them can be the valid"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_line_and_nothing_is_written(table, prepared, tmp_path, case):
    files, message = WRONG[case]
    with pytest.raises(raw.BadSource, match=message):
        prepared(table(files))
    assert not (tmp_path / "data").exists()


def test_numbers_are_no_classes(table, prepared, monkeypatch):
    monkeypatch.setattr(table_file, "MOST_LABELS", 5)
    path = table({"a.tsv": "text\tlabel\n" + "".join(f"text {n}\t{n / 7}\n" for n in range(60))})
    with pytest.raises(raw.BadSource, match="more than 5 different labels: are they classes?"):
        prepared(path)


def test_a_file_that_changed_is_refused(table, prepared):
    prepared(table({"a.tsv": GOOD}))
    with pytest.raises(FolderError, match=r"made from other sources \(a.tsv has changed\)"):
        prepared(table({"a.tsv": GOOD + "one more\tgood\n"}))


@pytest.fixture
def task(table, prepared, config_of):
    prepared(table({"a.tsv": tsv(*range(90))}))
    return registry.build(config_of("reviews", seq_len=9, batch_size=4, vocab_size=50, bucket_lengths=(4,)))


def test_classes_and_words_come_from_the_training_part(task):
    assert task.shape.pooled and task.shape.outputs == 3 and task.shape.vocab_size == 50
    assert task.describe()["classes"] == sorted(WORDS)
    for split in ("train", "validation", "test"):
        batches = list(task.evaluate(split))
        rows = [(row, target) for b in batches for row, target, w in
                zip(b["inputs"], b["targets"], b["weights"], strict=True) if w]  # fmt: skip
        for row, target in rows:
            assert sorted(WORDS)[target] in task.decode(row)
        assert len(rows) == {"train": 82, "validation": 4, "test": 4}[split]


def test_a_batch_holds_so_many_tokens_and_small_buckets_are_trained_on(table, prepared, config_of):
    long = "text\tlabel\n" + "".join(f"{'very ' * (n % 2 * 6)}{WORDS[n % 3]} {n}\t{WORDS[n % 3]}\n" for n in range(60))
    prepared(table({"a.tsv": long}))
    fields = dict(seq_len=8, bucket_lengths=(2,), batch_tokens=16, vocab_size=50)
    task = registry.build(config_of("reviews", **fields))
    stream = task.train(0)
    assert {next(stream)["inputs"].shape for _ in range(30)} == {(8, 2), (2, 8)}
    few = registry.build(config_of("reviews", **fields | {"batch_tokens": None, "batch_size": 500}))
    assert next(few.train(0))["inputs"].shape[0] < 60
    trained, validated = task.examples()
    assert {b["inputs"].shape for b in trained} == {(8, 2), (2, 8)}
    assert {b["inputs"].shape for b in validated} == {b["inputs"].shape for b in task.evaluate("validation")}


def test_a_run_keeps_its_words_and_needs_no_set_to_read(task, config_of, tmp_path):
    elsewhere = config_of("reviews", seq_len=9, batch_size=4, vocab_size=50, data_dir=str(tmp_path / "nowhere"))
    again = registry.build(elsewhere, tuple(task.files.items()))
    assert again.shape == task.shape
    np.testing.assert_array_equal(again.encode("a good film 7"), task.encode("a good film 7"))
    with pytest.raises(sets.MissingData):
        again.evaluate("validation")


def test_a_kept_vocabulary_without_a_label_of_the_set_is_refused(task, table, prepared, config_of):
    files = tuple((name, content.replace(b'"good"', b'"well"')) for name, content in task.files.items())
    config = config_of("reviews", seq_len=9, batch_size=4, vocab_size=50)
    with pytest.raises(ConfigError, match="the train split has the label 'good', which its vocabulary lacks"):
        list(registry.build(config, files).evaluate("train"))


def test_sentences_of_sst2(made, tmp_path, config_of):
    folder = tmp_path / "sst2"
    folder.mkdir()
    for name, count in (("train", 12), ("dev", 5)):
        rows = "".join(f"film {n} , a {('poor', 'rich')[n % 2]} one .\t{n % 2}\n" for n in range(count))
        (folder / f"sst2_{name}.tsv").write_text("sentence\tlabel\n" + rows)
    made("sst2", folder, train=12, validation=5)
    task = registry.build(config_of("sst2", seq_len=8, batch_size=4, vocab_size=50))
    assert task.describe()["classes"] == ["negative", "positive"]
    batches = list(task.evaluate("validation"))
    assert np.concatenate([b["targets"][b["weights"] > 0] for b in batches]).tolist() == [0, 1, 0, 1, 0]
    with pytest.raises(sets.MissingData, match="without the test split"):
        list(task.evaluate("test"))


def test_the_real_sentences(made, real, config_of):
    made("sst2", real("sst2"))
    task = registry.build(config_of("sst2", seq_len=64, batch_size=32, vocab_size=20_000))
    assert task.describe()["counts"] == {"train": 6_920, "validation": 872} and task.describe()["cut"] == 0


def test_other_files_are_not_the_published_sentences(tmp_path):
    for name in ("train", "dev"):
        (tmp_path / f"sst2_{name}.tsv").write_text(GOOD)
    with pytest.raises(raw.BadSource, match="not the published one(.|\n)*prepare labelled --from FILE.tsv --name mine"):
        prepare.prepare("sst2", tmp_path, tmp_path / "data")
