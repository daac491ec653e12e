"""Sentence pairs: files whose lines answer each other, cut into splits that share no source sentence."""

import gzip
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError
from transformer_jax.host.folders import FolderError
from transformer_jax.tasks import originals, place, prepare, raw, sentences, sets

SPLITS = ("train", "validation", "test")


@pytest.fixture
def corpus(tmp_path):
    """corpus({file: text or bytes}) -> the folder of these files."""

    def make(files: dict[str, str | bytes]):
        folder = tmp_path / "corpus"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return make


def numbered(language: str, *numbers: int) -> str:
    return "".join(f"{language} {n}\n" for n in numbers)


def prepared(folder, tmp_path, source="a.en", target="a.fr", name="mine"):
    """Split -> pairs as they lie on the disk, after preparing."""
    data = tmp_path / "data"
    made = prepare.prepare_own("parallel", name, folder, data, source=source, target=target)
    assert made == data / name / "1.0.0"
    builder = sets.open_set(name, data)
    return {
        split: [(r["source"].decode(), r["target"].decode()) for r in sets.records(builder, split)]
        for split in builder.info.splits
    }


def read(tmp_path, content: bytes) -> list[str]:
    (tmp_path / "x").write_bytes(content)
    return list(sentences.lines(tmp_path / "x"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_line_ends_with_a_newline_alone(tmp_path, pack):
    r"""str.splitlines would see 11 lines here; a byte order mark, \r\n and white space around are no part of a line."""
    text = "\ufeff one\u2028two \r\nthree\ffour\vfive\r\n\n\tsix\x85seven\x1eeight\rnine\n  \n ten"
    found = read(tmp_path, pack(text.encode()))
    assert found == ["one\u2028two", "three\ffour\vfive", "", "six\x85seven\x1eeight\rnine", "", "ten"]


@settings(max_examples=60)
@given(
    rows=st.lists(st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]))), zipped=st.booleans()
)
def test_any_lines_come_back(tmp_path_factory, rows, zipped):
    content = "".join(f"{row}\n" for row in rows).encode()
    if rows and rows[0].startswith("\ufeff"):
        rows[0] = rows[0][1:]
    found = read(tmp_path_factory.mktemp("any"), gzip.compress(content) if zipped else content)
    assert found == [row.strip() for row in rows]


def test_pairs_stand_in_the_order_of_the_files_and_are_all_there(corpus, tmp_path):
    """40 different sources, each twice: no source is in two splits, and 5 % of the different ones are in each."""
    numbers = [*range(40), *reversed(range(40))]
    folder = corpus({"a.en": numbered("en", *numbers), "a.fr": numbered("fr", *range(80))})
    found = prepared(folder, tmp_path)
    expected = [(f"en {n}", f"fr {i}") for i, n in enumerate(numbers)]
    assert tuple(found) == SPLITS and sorted(pair for part in found.values() for pair in part) == sorted(expected)
    assert all(part == [pair for pair in expected if pair in part] for part in found.values())
    sources = {split: {source for source, _ in part} for split, part in found.items()}
    by_hash = sorted({s for s, _ in expected}, key=lambda s: hashlib.sha256(s.encode()).hexdigest())
    assert sources == {"validation": {*by_hash[:2]}, "test": {*by_hash[2:4]}, "train": {*by_hash[4:]}}


def test_the_order_of_the_lines_decides_nothing(corpus, tmp_path):
    found = []
    for name, numbers in (("forth", range(60)), ("back", reversed(range(60)))):
        numbers = list(numbers)
        folder = corpus({"a.en": numbered("en", *numbers), "a.fr": numbered("fr", *numbers)})
        found.append({split: sorted(part) for split, part in prepared(folder, tmp_path, name=name).items()})
    assert found[0] == found[1]


@pytest.mark.parametrize(("pairs", "held"), [(3, 1), (29, 1), (31, 2), (200, 10)])
def test_how_many_are_held_out(corpus, pairs, held):
    folder = corpus({"a.en": numbered("en", *range(pairs)), "a.fr": numbered("fr", *range(pairs))})
    splits, counts = sentences.parallel(folder, sentences.of_splits(folder, "a.en", "a.fr"))
    assert counts == {"train": pairs - 2 * held, "validation": held, "test": held}
    assert {split: len(list(part)) for split, part in splits.items()} == counts


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev"])
def test_files_named_like_the_training_files_are_the_other_splits(corpus, tmp_path, word):
    files = {
        f"my-{part}_{language}.txt": numbered(language, *numbers)
        for part, numbers in {"train": range(9), word: range(20, 23), "test": range(30, 34)}.items()
        for language in ("en", "fr")
    }
    found = prepared(corpus(files), tmp_path, "my-train_en.txt", "my-train_fr.txt")
    starts = {split: [source for source, _ in part] for split, part in found.items()}
    assert starts == {
        split: [f"en {n}" for n in numbers]
        for split, numbers in {"train": range(9), "validation": range(20, 23), "test": range(30, 34)}.items()
    }


def test_one_split_has_files_and_the_other_is_held_out(corpus, tmp_path):
    files = {f"{part}/{l}.gz": gzip.compress(numbered(l, *r).encode()) for l in ("en", "fr")
             for part, r in {"train": range(50), "test": range(60, 64)}.items()}  # fmt: skip
    found = prepared(corpus(files), tmp_path, "train/en.gz", "train/fr.gz")
    assert {split: len(part) for split, part in found.items()} == {"train": 48, "validation": 2, "test": 4}
    assert found["test"] == [(f"en {n}", f"fr {n}") for n in range(60, 64)]


@pytest.mark.parametrize("names", [("training.en", "training.fr"), ("train.en", "a.fr"), ("strain.en", "strain.fr")])
def test_files_beside_others_are_not_taken(corpus, names):
    files = dict.fromkeys(names, numbered("x", *range(9))) | dict.fromkeys(["val.en", "val.fr", "a.en"], "x\n")
    assert list(sentences.of_splits(corpus(files), *names)) == ["train"]


def test_what_is_recorded(corpus, tmp_path):
    folder = corpus({"a.en": numbered("en", *range(20)), "a.fr": numbered("fr", *range(20))})
    prepared(folder, tmp_path)
    metadata = json.loads((tmp_path / "data/mine/1.0.0/metadata.json").read_text())
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("a.en", "a.fr")}
    assert metadata["kind"] == "parallel" and metadata["sha256"] == digests
    assert metadata["files"] == {"train": {"source": "a.en", "target": "a.fr"}}
    assert metadata["counts"] == {"train": 18, "validation": 1, "test": 1}
    described = sets.describe(sets.open_set("mine", tmp_path / "data"), {})
    assert described["source"] == "mine/1.0.0" and described["sha256"] == digests


def test_again_from_the_same_and_from_other_files(corpus, tmp_path):
    files = {"a.en": numbered("en", *range(20)), "a.fr": numbered("fr", *range(20))}
    before = prepared(corpus(files), tmp_path)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    assert prepared(corpus(files), tmp_path) == before
    with pytest.raises(FolderError, match="other sources; remove it"):
        prepared(corpus({}), tmp_path, "a.fr", "a.en")  # the sides changed
    with pytest.raises(FolderError, match="other sources.*; remove it"):
        prepared(corpus({"a.fr": numbered("FR", *range(20))}), tmp_path)
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}


EN, FR = numbered("en", *range(9)), numbered("fr", *range(9))
BAD = {
    "one more": ({"a.en": EN + "x\n"}, r"a\.en has 10, .*a\.fr has 9; line i of one"),
    "one less, and an empty line before": ({"a.fr": "\n" + FR[5:-5]}, r"a\.en has 9, .*a\.fr has 8"),
    "empty lines at the end are no lines": ({"a.en": EN + "\n\n", "a.fr": FR + "x\n\n\n\n"}, "a.en has 9, .* has 10"),
    "nothing on one side": ({"a.fr": ""}, r"a\.en has 9, .*a\.fr has 0"),
    "nothing": ({"a.en": "", "a.fr": ""}, "a.en holds 0 different sentences: too few to hold out validation and test"),
    "white space": ({"a.en": "\n \r\n", "a.fr": "\n\n"}, "holds 0 different sentences"),
    "a single sentence": ({"a.en": "x\n" * 9}, r"a\.en holds 1 different sentences: too few to hold out"),
    "an empty source": ({"a.en": EN.replace("en 3", " ")}, r"a\.en, line 4 is empty, and that of .*a\.fr is not: fill"),
    "an empty source, and more at its end": ({"a.en": EN.replace("en 3", "") + "\n\n"}, r"a\.en, line 4 is empty"),
    "an empty target": ({"a.fr": FR.replace("fr 8", "\t")}, r"a\.fr, line 9 is empty, and that of .*a\.en is not: "),
    "Latin-1": ({"a.fr": FR.replace("fr 4", "fr é").encode("latin-1")}, r"a\.fr, line 5: byte 4 of the line \(0xe9\)"),
    "UTF-16": (
        {"a.en": EN.encode("utf-16")},
        r"a\.en, line 1: byte 1 of the line \(0x..\) is not UTF-8; save",
    ),
    "UTF-16 without a mark": ({"a.en": EN.encode("utf-16-be")}, r"a\.en, line 1 has a NUL character.*UTF-16"),
    "one side ends early": ({"a.fr": FR[:-5] + "\n\n"}, r"a\.en has 9, .*a\.fr has 8"),
    "a byte that ends the text": ({"a.en": EN.encode() + b"\xc3"}, r"a\.en, line 10: byte 1 of the line \(0xc3\)"),
    "after a byte order mark": ({"a.en": b"\xef\xbb\xbfen\xff\n" + EN[5:].encode()}, r"line 1: byte 6 of the line"),
    "a book on one line": ({"a.en": "x " * 40_000}, r"a\.en, line 1 has more than 65536 bytes: a line"),
    "half an archive": ({"a.en": gzip.compress(EN.encode())[:-9]}, r"a\.en cannot be read after line 9: "),
    "one empty split": ({"val.en": "\n", "val.fr": ""}, r"val\.en holds no sentence"),
    "half a split": ({"test.en": EN}, r"holds test\.en, so that the test split needs test\.fr as well"),
    "two of one split": (dict.fromkeys(["val.en", "val.fr", "dev.en", "dev.fr"], EN), "holds val.en and dev.en: only"),
    "a split of two lengths": ({"val.en": EN, "val.fr": FR + "x"}, r"val\.en has 9, .*val\.fr has 10"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_message_and_nothing_is_written(corpus, tmp_path, case):
    files, message = BAD[case]
    stem = "train" if any(name[0] != "a" for name in files) else "a"
    folder = corpus({f"{stem}.en": EN, f"{stem}.fr": FR} | files)
    with pytest.raises(raw.BadSource, match=message) as error:
        prepared(folder, tmp_path, f"{stem}.en", f"{stem}.fr")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def test_a_missing_file_a_shared_file_and_a_folder_that_is_none(corpus, tmp_path):
    folder = corpus({"corpus.en.gz": EN, "b.fr": FR})
    (folder / "link.en").symlink_to(folder / "b.fr")
    for source, target, message in (
        (
            "corpus.en",
            "b.fr",
            r" lacks corpus\.en; it holds b\.fr, corpus\.en\.gz, .*; did you mean corpus\.en\.gz",
        ),
        ("x", "y", r"corpus lacks x, y; it holds b\.fr, corpus\.en\.gz, link\.en$"),
        ("b.fr", "b.fr", r"b\.fr and b\.fr are one file"),
        ("link.en", "b.fr", r"link\.en and b\.fr are one file"),
    ):
        with pytest.raises((FileNotFoundError, raw.BadSource), match=message):
            prepared(folder, tmp_path, source, target)
    with pytest.raises(FileNotFoundError, match=rf"a\.en, a\.fr; did you mean {corpus({'a.en': EN, 'a.fr': FR})}\?"):
        prepared(folder / "nowhere", tmp_path)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["", "Mine", "1st", "../mine", "my set", "a.b", "a/b", "é", "x" * 41, "mine\n"])
def test_a_name_that_is_none(name, corpus, tmp_path):
    with pytest.raises(ConfigError, match="a name is small letters, digits and _, begins with a letter, at most 40"):
        prepared(corpus({"a.en": EN, "a.fr": FR}), tmp_path, name=name)
    assert place.own(name, tmp_path) is None and not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["digits", "copy_memory", "imdb", "imdb_reviews", "multi30k", "parallel", "downloads"])
def test_a_name_that_is_taken(name, corpus, tmp_path):
    with pytest.raises(ConfigError, match=f"--name {name} is taken by a task or a set that is built in"):
        prepared(corpus({"a.en": EN, "a.fr": FR}), tmp_path, name=name)


def test_which_sets_are_pairs(corpus, tmp_path, made, shakespeare_files):
    folder = corpus({"a.en": EN, "a.fr": FR})
    assert sets.own_names(tmp_path / "data") == []
    for name in ("zwei", "eins"):
        prepared(folder, tmp_path, name=name)
    data = made("tiny_shakespeare", shakespeare_files)
    assert sets.own_names(data) == ["eins", "zwei"] and place.own("eins", data) == ("parallel", "a.en, a.fr")
    assert not any(place.own(name, data) for name in ("drei", "tiny_shakespeare", "downloads", "../data/eins"))
    (data / "eins/1.0.0/metadata.json").write_text("{")
    assert sets.own_names(data) == ["zwei"]


def test_a_set_of_pairs_that_is_missing_names_its_command(tmp_path):
    with pytest.raises(sets.MissingData) as error:
        sets.open_set("mine", tmp_path)
    command = "python run.py prepare KIND --from FILES --name mine --data-dir"
    assert f"prepare it from them: {command} {tmp_path} (prepare --help has the kinds)\n" in str(error.value)
    with pytest.raises(sets.MissingData) as error:
        sets.open_set("multi30k", tmp_path)
    assert "github.com/multi30k/dataset, folder data/task1/raw\n" in str(error.value)
    assert "prepare multi30k --from FOLDER --data-dir" in str(error.value)
    assert "numbers_en_fr" in str(error.value)


@pytest.fixture
def multi30k_files(corpus):
    """12, 4 and 3 lines in three languages."""
    return corpus({
        f"{stem}.{language}.gz": gzip.compress("".join(f" {stem} {language} {n}\n" for n in range(count)).encode())
        for stem, count in (("train", 12), ("val", 4), ("test_2016_flickr", 3))
        for language in ("en", "fr", "de")
    })  # fmt: skip


def test_multi30k_has_three_columns_in_the_order_of_its_lines(multi30k_files, made):
    data = made("multi30k", multi30k_files, train=12, validation=4, test=3)
    builder = sets.open_set("multi30k", data)
    assert place.own("multi30k", data) is None and "English" in builder.info.description
    for split, stem, count in (("train", "train", 12), ("validation", "val", 4), ("test", "test_2016_flickr", 3)):
        found = sets.records(builder, split)
        assert found == [{lang: f"{stem} {lang} {n}".encode() for lang in ("en", "fr", "de")} for n in range(count)]


def test_multi30k_is_the_published_one_and_whole(multi30k_files, made, tmp_path):
    with pytest.raises(raw.BadSource, match="train.en.gz is not the published one: it has .* bytes, not 568929"):
        prepare.prepare("multi30k", multi30k_files, tmp_path / "data")
    (multi30k_files / "val.de.gz").rename(multi30k_files / "val.gz")
    with pytest.raises(FileNotFoundError, match=r"lacks val\.de\.gz; .*\n  published at https://github.com/multi30k"):
        prepare.prepare("multi30k", multi30k_files, tmp_path / "data")
    (multi30k_files / "val.de.gz").write_bytes(gzip.compress(b"eins\n"))
    with pytest.raises(raw.BadSource, match=r"val\.fr\.gz has 4, .*val\.de\.gz has 1"):
        made("multi30k", multi30k_files, train=12, validation=4, test=3)
    assert place.folders("multi30k", tmp_path / "data") == []


@pytest.mark.slow
def test_the_real_multi30k(real, tmp_path):
    """Line i of one language is line i of the others, in all 31,014 lines, as published and counted."""
    folder = real("multi30k")
    prepare.prepare("multi30k", folder, tmp_path)
    builder = sets.open_set("multi30k", tmp_path)
    for split, stem in (("train", "train"), ("validation", "val"), ("test", "test_2016_flickr")):
        found = sets.records(builder, split)
        assert len(found) == originals.ORIGINALS["multi30k"].counts[split]
        for language in ("en", "fr", "de"):
            lines = gzip.decompress((folder / f"{stem}.{language}.gz").read_bytes()).decode().split("\n")[:-1]
            assert [record[language].decode() for record in found] == [line.strip() for line in lines]


@pytest.mark.slow
def test_the_real_multi30k_as_pairs_of_ones_own(real, tmp_path):
    """val.en.gz beside train.en.gz is taken; test_2016_flickr is not the name of a test split, and one is held out."""
    found = prepared(real("multi30k"), tmp_path, "train.en.gz", "train.fr.gz")
    assert len(found["validation"]) == 1014 and len(found["train"]) + len(found["test"]) == 29_000
    sources = {split: {source for source, _ in part} for split, part in found.items()}
    assert not sources["train"] & sources["test"]
    assert len(sources["test"]) == round(0.05 * len(sources["train"] | sources["test"]))
