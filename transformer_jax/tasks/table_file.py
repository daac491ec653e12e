"""Labelled texts in a table: a file of rows with named columns, read, checked, cut into splits."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from transformer_jax.config import nearest
from transformer_jax.tasks.raw import BadSource, Record, Splits
from transformer_jax.tasks.sentences import BESIDE, beside, content_hash, held_out, lines

COLUMNS = ("text", "label")
DELIMITERS = {".tsv": "\t", ".tab": "\t", ".csv": ","}
MOST_LABELS = 1000
SST2_NAMES = ("negative", "positive")

Files = dict[str, dict[str, str]]
"""Split -> "table" -> the name of its file in the folder."""


def of_splits(path: Path) -> Files:
    """The file of each split: the one named, and those beside it that are named like it.

    Beside train.tsv may lie val.tsv (or valid.tsv, validation.tsv, dev.tsv) and test.tsv; a split that has no such
    file is left out here.

    Raises:
      BadSource: two files could be the same split, or a name has no ending that says how columns are separated.
    """
    delimiter(path)
    files = {"train": {"table": path.name}}
    for split, others in BESIDE.items():
        names = [beside(path.name, word) for word in others]
        found = [name for name in names if name != path.name and (path.parent / name).is_file()]
        if len(found) > 1:
            raise BadSource(f"{path.parent} holds {' and '.join(found)}: only one of them can be the {split} split")
        if found:
            files[split] = {"table": found[0]}
    return files


def delimiter(path: Path) -> str:
    """What separates the columns, by the ending of the file's name. Raises BadSource for another ending."""
    ending = Path(path.name.removesuffix(".gz")).suffix
    if ending not in DELIMITERS:
        raise BadSource(f"{path}: a table's name ends in {', '.join(DELIMITERS)}, or one of these and .gz")
    return DELIMITERS[ending]


def rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line, the fields of those columns) of each row; the first line names the columns; empty lines are left out.

    Commas follow RFC 4180: a field in double quotes may hold commas, line ends and doubled quotes. Between tabs a
    quote is a character like others.

    Raises:
      BadSource: no such column, a row with another number of fields than the header, quotes that do not fit, an empty
        field in one of the columns; what `sentences.lines` finds.
    """
    separator = delimiter(path)
    quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(
        (line + "\n" for line in lines(path, strip=False)), delimiter=separator, quoting=quoting, strict=True
    )
    header: list[str] = []
    try:
        for fields in reader:
            where = f"{path}, line {reader.line_num}"
            if not header:
                header = [name.strip() for name in fields]
                places = [_place(where, header, column) for column in columns]
            elif len(fields) == len(header):
                found = [fields[place].strip() for place in places]
                for column, field in zip(columns, found, strict=True):
                    if not field:
                        raise BadSource(f"{where}: the column {column} is empty; fill it, or remove the row")
                yield reader.line_num, found
            elif fields:
                raise BadSource(f"{where}: {_fields(len(fields))}, and the header has {_fields(len(header))}")
    except csv.Error as error:
        raise BadSource(f"{path}, line {reader.line_num}: {error}") from None
    if not header:
        raise BadSource(f"{path} is empty: its first line must name the columns {' and '.join(columns)}")


def labelled(folder: Path, files: Files, columns: tuple[str, str]) -> tuple[Splits, dict[str, int]]:
    """The records {text, label} of each split, and how many these are; all files have been read and checked once.

    A split without a file of its own takes HELD_OUT of the training file's different texts, one at least: those whose
    hash is lowest, so that equal texts are in one split and the order of the rows decides nothing.

    Raises:
      BadSource: too few texts, one label only or more than MOST_LABELS, a label that training lacks; what `rows` finds.
    """
    paths = {split: folder / one["table"] for split, one in files.items()}
    hashes = {content_hash(text) for _, (text, _) in rows(paths["train"], columns)}
    split_of = held_out(hashes, files, f"{paths['train']} holds {len(hashes)} different texts")

    def part(split: str) -> Iterator[tuple[int, list[str]]]:
        if split in files and split != "train":
            yield from rows(paths[split], columns)
            return
        for number, (text, label) in rows(paths["train"], columns):
            if split_of(content_hash(text)) == split:
                yield number, [text, label]

    counts = _check_labels({split: (paths.get(split, paths["train"]), part(split)) for split in ("train", *BESIDE)})
    return {split: _records(part(split)) for split in counts}, counts


def sst2(folder: Path) -> Splits:
    """The sentences of the Stanford Sentiment Treebank with two classes (Socher et al. 2013), in Kim's 2014 cut."""
    paths = {"train": folder / "sst2_train.tsv", "validation": folder / "sst2_dev.tsv"}
    return {split: _of_sst2(path) for split, path in paths.items()}


def _of_sst2(path: Path) -> Iterator[Record]:
    for number, (text, label) in rows(path, ("sentence", "label")):
        yield number, {"text": text, "label": SST2_NAMES[int(label)]}


def _records(found: Iterator[tuple[int, list[str]]]) -> Iterator[Record]:
    for number, fields in found:
        yield number, dict(zip(COLUMNS, fields, strict=True))


def _check_labels(parts: dict[str, tuple[Path, Iterator[tuple[int, list[str]]]]]) -> dict[str, int]:
    """The rows of each split, of which training comes first and has the labels of all others."""
    counts, known = dict.fromkeys(parts, 0), set()
    for split, (path, found) in parts.items():
        for number, (_, label) in found:
            counts[split] += 1
            if split == "train":
                known.add(label)
            elif label not in known:
                raise BadSource(
                    f"{path}, line {number}: the label {label!r} is in the {split} split and not in training, which has"
                    f" {_shown(known)}; a label needs some texts to learn it from"
                )
            if len(known) > MOST_LABELS:
                raise BadSource(f"{path}, line {number}: more than {MOST_LABELS} different labels: are they classes?")
        if split == "train" and len(known) < 2:
            raise BadSource(f"{path}: all training texts have the label {_shown(known)}: nothing to tell apart")
        if not counts[split]:
            raise BadSource(f"{path} holds no text")
    return counts


def _place(where: str, header: list[str], column: str) -> int:
    if header.count(column) != 1:
        lacks = f"names the column {column!r} twice" if column in header else f"names no column {column!r}"
        raise BadSource(
            f"{where}: the header {lacks}{nearest(column, header)}; its columns: {', '.join(map(repr, header[:12]))}"
            " (--text-column and --label-column say which are meant)"
        )
    return header.index(column)


def _fields(count: int) -> str:
    return f"{count} field{'s' * (count != 1)}"


def _shown(labels: set[str]) -> str:
    return ", ".join(map(repr, sorted(labels)[:8])) + (" ..." if len(labels) > 8 else "")
