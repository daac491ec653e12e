"""Files of sentences, one a line, whose lines answer each other: read, checked, cut into splits."""

import gzip
import hashlib
import re
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from transformer_jax.tasks.raw import BadSource, Record, Splits

LANGUAGES = ("en", "fr", "de")
STEMS = {"train": "train", "validation": "val", "test": "test_2016_flickr"}  # of the files of Multi30k
# What stands for "train" in the names of files that lie beside the training files.
BESIDE = {"validation": ("val", "valid", "validation", "dev"), "test": ("test",)}
HELD_OUT = 0.05
"""The share of a corpus that each split takes which has no files of its own."""
MAX_LINE_BYTES = 1 << 16

Files = dict[str, dict[str, str]]
"""Split -> column -> the name of its file in the folder."""


def multi30k(folder: Path) -> Splits:
    """The nine files of task 1 (Elliott et al. 2016, arXiv:1605.00459), as published: English, French, German."""
    return {
        split: aligned({language: folder / f"{stem}.{language}.gz" for language in LANGUAGES})
        for split, stem in STEMS.items()
    }


def lines(path: Path, strip: bool = True) -> Iterator[str]:
    r"""The lines of a UTF-8 text, gzipped or not, without their ends; with `strip` without white space around them.

    A line ends with \n or \r\n alone: whatever else Unicode calls an end of line stays inside. A byte order mark is
    left out.

    Raises:
      BadSource: another encoding, a NUL character, a line above MAX_LINE_BYTES, a damaged file.
    """
    number = 0
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"  # no UTF-8 text begins so
        with gzip.open(path) if zipped else path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                text = _text(line, f"{path}, line {number}", first=number == 1)
                yield text.strip() if strip else text.removesuffix("\n").removesuffix("\r")
    except (EOFError, OSError, zlib.error) as error:
        raise BadSource(f"{path} cannot be read after line {number}: {error}") from error


def aligned(paths: dict[str, Path]) -> Iterator[Record]:
    """(number of the line, {column: sentence}) of files whose lines belong together; empty on all sides is left out.

    Raises:
      BadSource: files of different length (empty lines at the end do not count), or a line that is empty on one side;
        what `lines` finds.
    """
    for number, row in enumerate(zip_longest(*map(lines, paths.values())), 1):
        if all(row):
            yield number, dict(zip(paths, row, strict=True))
        elif any(row):
            raise BadSource(_unequal(list(paths.values()), number, row))


def of_splits(folder: Path, source: str, target: str) -> Files:
    """The files of each split: the two named, and those beside them that are named like them.

    Beside train.en may lie val.en (or valid.en, validation.en, dev.en) and test.en; a split that has no such file is
    left out here.

    Raises:
      BadSource: one file for both sides, a file that stands for a split on one side only, or two that could be the
        same split.
    """
    files = {"train": {"source": source, "target": target}}
    if (folder / source).samefile(folder / target):
        raise BadSource(f"{source} and {target} are one file: the source and the target need a file each")
    for split, words in BESIDE.items():
        found = []
        for word in words:
            pair = {column: beside(name, word) for column, name in files["train"].items()}
            present = [name for name in pair.values() if (folder / name).is_file()]
            if pair["source"] == source or pair["target"] == target or not present:
                continue  # not named after the split that they are
            if lacking := set(pair.values()) - set(present):
                raise BadSource(f"{folder} holds {present[0]}, so that the {split} split needs {lacking.pop()} as well")
            found.append(pair)
        if len(found) > 1:
            names = " and ".join(pair["source"] for pair in found)
            raise BadSource(f"{folder} holds {names}: only one of them can be the {split} split")
        if found:
            files[split] = found[0]
    return files


def parallel(folder: Path, files: Files) -> tuple[Splits, dict[str, int]]:
    """The pairs of each split, and how many these are; all files have been read and checked once.

    A split without files of its own takes HELD_OUT of the training files' different source sentences, one at least:
    those whose hash is lowest, so that equal sentences are in one split and the order of the lines decides nothing.

    Raises:
      BadSource: too few sentences; what `aligned` finds.
    """
    paths = {split: {column: folder / name for column, name in pair.items()} for split, pair in files.items()}
    times = Counter(content_hash(pair["source"]) for _, pair in aligned(paths["train"]))
    split_of = held_out(times, files, f"{paths['train']['source']} holds {len(times)} different sentences")

    def part(split: str) -> Iterator[Record]:
        for number, pair in aligned(paths["train"]):
            if split_of(content_hash(pair["source"])) == split:
                yield number, pair

    counts = {split: 0 for split in ("train", *BESIDE)}
    for number, pairs in times.items():
        counts[split_of(number)] += pairs
    for split in files.keys() - {"train"}:
        counts[split] = sum(1 for _ in aligned(paths[split]))
        if not counts[split]:
            raise BadSource(f"{paths[split]['source']} holds no sentence")
    own = files.keys() - {"train"}
    return {split: aligned(paths[split]) if split in own else part(split) for split in counts}, counts


def held_out(hashes: Collection[int], files: Mapping, holds: str) -> Callable[[int], str]:
    """The split of each text of the training file, by its hash: the lowest are held out, HELD_OUT of the different
    ones, one at least, for each split that has no file of its own.

    Raises:
      BadSource: too few; the message begins with `holds`.
    """
    held = [split for split in BESIDE if split not in files]
    if len(hashes) <= len(held):
        raise BadSource(holds + (f": too few to hold out {' and '.join(held)}" if held else ""))
    share = max(1, round(HELD_OUT * len(hashes)))
    cuts, names = [sorted(hashes)[(i + 1) * share - 1] for i in range(len(held))], [*held, "train"]
    return lambda number: names[bisect_left(cuts, number)]


def _text(line: bytes, where: str, first: bool) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise BadSource(
            f"{where} has more than {MAX_LINE_BYTES} bytes: a line, which ends with \\n, is one sentence or row"
        )
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        bad = f"byte {error.start + 1} of the line (0x{line[error.start]:02x})"
        raise BadSource(f"{where}: {bad} is not UTF-8; save the file as UTF-8") from None
    if "\0" in text:
        raise BadSource(f"{where} has a NUL character; a text has none: is the file UTF-16? Save it as UTF-8")
    return text.removeprefix("\ufeff") if first else text


def _unequal(paths: list[Path], number: int, row: tuple[str | None, ...]) -> str:
    """Why a line is not there on all sides: a sentence is lacking somewhere before it, or in this line."""
    with_end = [sum(1 for _ in lines(path)) for path in paths]
    totals = [max((i for i, text in enumerate(lines(path), 1) if text), default=0) for path in paths]
    if len(set(with_end)) > 1 and len(set(totals)) > 1:
        counted = ", ".join(f"{path} has {total}" for path, total in zip(paths, totals, strict=True))
        return f"the files do not have as many lines each: {counted}; line i of one must be line i of the other"
    empty, full = (
        next(p for p, text in zip(paths, row, strict=True) if bool(text) is there) for there in (False, True)
    )
    return f"{empty}, line {number} is empty, and that of {full} is not: fill it, or remove the line from both"


def beside(name: str, word: str) -> str:
    """The name of the file of another split: train.en -> val.en; a name without the word "train" stays."""
    return re.sub(r"^(.*(?<![A-Za-z]))train(?![A-Za-z])", rf"\g<1>{word}", name)


def content_hash(sentence: str) -> int:
    """64 bits that decide into which split a sentence falls."""
    return int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:8])
