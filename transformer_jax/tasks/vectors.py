"""Word vectors that others trained, from a text file: a row of a table for each word of a task's vocabulary."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from transformer_jax.config import ConfigError, TaskConfig

HEADER = re.compile(rb"\s*(\d+)\s+(\d+)\s*")
EXAMPLES = 3  # words that a file lacks, named to a person


class Table(NamedTuple):
    """What a file gives a vocabulary."""

    table_VxW: np.ndarray
    """float32, a row for each id: the file's vector of the word, or a drawn one where it has none."""
    missing: tuple[str, ...]
    """The words that it lacks, in the vocabulary's order."""
    sha256: str
    """Of the file."""


class WordVectors:
    """The file that `task.vectors` names, for one vocabulary. It is read when it is first asked for, once."""

    def __init__(self, path: str, words: Sequence[str | None], frozen: bool):
        """words: of each id, None where it is no word (padding, unknown); frozen: training leaves them as they are."""
        self.path, self.words, self.frozen = Path(path).expanduser(), tuple(words), frozen

    @cached_property
    def table(self) -> Table:
        """What the file gives; raises ConfigError as `read`."""
        return read(self.path, self.words)

    @property
    def table_VxW(self) -> np.ndarray:
        """A row for each id."""
        return self.table.table_VxW

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.table.sha256

    def describe(self) -> dict:
        """For the run's record: the file, its SHA-256, how many words have a vector in it and how many have none."""
        table, missing, sha256 = self.table
        found = sum(word is not None for word in self.words) - len(missing)
        counts = {"found": found, "missing": len(missing), "width": table.shape[1]}
        return {"file": str(self.path), "sha256": sha256, "frozen": self.frozen} | counts

    def text(self) -> str:
        """One line for people: what was found and what was not."""
        known = self.describe()
        found, count = known["found"], known["found"] + known["missing"]
        line = f"{self.path} has vectors of {found:,} of the vocabulary's {count:,} words"
        if missing := self.table.missing:
            some = ", ".join(missing[:EXAMPLES]) + (", ..." if len(missing) > EXAMPLES else "")
            line += f"; those of the other {len(missing):,} are drawn at random ({some})"
        return line + ("; none of them is trained" if self.frozen else "; they are trained further")


def of(task: TaskConfig, words: Sequence[str | None]) -> WordVectors | None:
    """What `task.vectors` asks for; None: nothing. words as in WordVectors."""
    return None if task.vectors is None else WordVectors(task.vectors, words, task.freeze_vectors)


def read(path: Path, words: Sequence[str | None]) -> Table:
    """The vectors of the given words, and for ids without one rows drawn from a normal of the same root mean square.

    The file is word2vec's text format (Mikolov et al. 2013; a first line "count width") or GloVe's (Pennington et al.
    2014; none): a row is a word, a space, and its numbers. A drawn row depends on its id, not on what else is missing.

    Raises:
      ConfigError: the file cannot be read, a row breaks a rule (the message names its line), or no word is found.
    """
    ids = {word: i for i, word in enumerate(words) if word is not None}
    digest, found = hashlib.sha256(), {}
    try:
        with open(path, "rb") as file:
            for word, row in _rows(file, path, digest):
                if word in ids:
                    found[ids[word]] = row
    except OSError as error:
        raise ConfigError(f"task.vectors={path} cannot be read: {error.strerror}") from None
    if not found:
        some = ", ".join(list(ids)[:EXAMPLES])
        raise ConfigError(
            f"task.vectors={path} has none of the vocabulary's {len(ids):,} words ({some}, ...): is it of another"
            " language, or written in capitals?"
        )
    rows = np.stack(list(found.values()))
    scale = np.sqrt(np.mean(np.square(rows, dtype=np.float64)))
    drawn = np.random.default_rng(0).normal(0.0, scale, (len(words), rows.shape[1]))
    table_VxW = drawn.astype(np.float32)
    table_VxW[list(found)] = rows
    missing = tuple(word for word, i in ids.items() if i not in found)
    return Table(table_VxW, missing, digest.hexdigest())


def _rows(file: Iterator[bytes], path: Path, digest) -> Iterator[tuple[str, np.ndarray]]:
    """(word, its vector) of each row, all rules kept; every byte goes into the digest."""
    number, count, width, seen = 0, None, None, {}
    for number, line in enumerate(file, 1):
        digest.update(line)
        if number == 1 and (header := HEADER.fullmatch(line)):
            count, width = map(int, header.groups())
            continue
        try:
            word, row = _row(line, width)
            if word in seen:
                raise ValueError(f"the word {word!r} has a vector already, in line {seen[word]}")
        except ValueError as error:
            raise ConfigError(f"task.vectors={path}, line {number}: {error}") from None
        seen[word], width = number, len(row)
        yield word, row
    if not seen:
        raise ConfigError(f"task.vectors={path} is empty: a row is a word and its numbers, with spaces between")
    if count not in (None, len(seen)):
        raise ConfigError(
            f"task.vectors={path}, line 1: it announces {count:,} vectors, and {len(seen):,} follow: a part is missing"
            " or too much"
        )


def _row(line: bytes, width: int | None) -> tuple[str, np.ndarray]:
    """The word and the vector of a line; raises ValueError with the rule that it breaks. width: None in a first row."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{error.object[error.start]:#x} is no UTF-8: the file must be in the text format") from None
    fields = line.split()  # at ASCII spaces alone: a word may hold others, such as U+00A0
    if len(fields) < 2:
        raise ValueError("a row is a word and its numbers, with spaces between")
    numbers = fields[1:]
    if width is not None and len(numbers) > width and not _is_number(numbers[0]):
        numbers = fields[-width:]  # GloVe's largest set has some words with spaces in them
    if len(numbers) != (width or len(numbers)):
        raise ValueError(f"it has {len(numbers)} numbers, where the rows before it, or line 1, say {width}")
    try:
        with np.errstate(over="ignore"):
            row = np.fromiter(map(float, numbers), np.float64, len(numbers)).astype(np.float32)
        good = np.isfinite(row).all() and b"_" not in line
    except ValueError:
        good = False
    if not good:  # a word may hold a _, a number may not
        if wrong := [one for one in numbers if not _is_number(one)]:
            raise ValueError(f"{wrong[0].decode()!r} is not a number")
        if not np.isfinite(row).all():
            raise ValueError("a number is not finite in float32")
    row += 0  # no -0.0, which an update of 0 would change
    return b" ".join(fields[: -len(numbers)]).decode(), row


def _is_number(field: bytes) -> bool:
    try:
        return math.isfinite(float(field)) and b"_" not in field
    except ValueError:
        return False
