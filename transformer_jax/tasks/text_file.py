"""One text of the user's own: a UTF-8 file, cut by position into training, validation and test."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from transformer_jax.tasks.raw import BadSource, Record, Splits

SPLIT_BY = "position: the first 90 % train, the next 5 % validate, the last 5 % test"
SHORTEST = 40  # characters, of which two each validate and test: one to read, one to ask for
PIECE = 1 << 20  # characters of one record


def read(path: Path) -> str:
    r"""The whole text, gzipped or not; a line ends with \n, also where the file has \r\n; no byte order mark.

    Raises:
      BadSource: another encoding, a NUL character, a damaged file, or hardly any text.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content  # no UTF-8 text begins so
    except (EOFError, OSError, zlib.error) as error:
        raise BadSource(f"{path} cannot be read: {error}") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad = f"byte {error.start + 1} of the file (0x{content[error.start]:02x})"
        raise BadSource(f"{path}, line {line}: {bad} is not UTF-8; save the file as UTF-8") from None
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise BadSource(
            f"{path}, line {line} has a NUL character; a text has none: is the file UTF-16? Save it as UTF-8"
        )
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if (count := len(text.strip())) < SHORTEST:
        raise BadSource(
            f"{path} holds {count} characters, blanks at its ends left out: cut by position, a text needs {SHORTEST}"
        )
    return text


def split(text: str) -> dict[str, str]:
    """Cuts a text as the catalogue of tensorflow-datasets cuts tiny Shakespeare: 90/5/5, in the order of the text."""
    train = int(len(text) * 0.9)
    validation = train + int((len(text) - train) * 0.5)
    return {"train": text[:train], "validation": text[train:validation], "test": text[validation:]}


def splits(path: Path) -> tuple[Splits, dict[str, int]]:
    """The records of each split, and how many these are: consecutive pieces of its text. Raises BadSource as `read`."""
    parts = split(read(path))
    return (
        {name: _pieces(part) for name, part in parts.items()},
        {name: -(-len(part) // PIECE) for name, part in parts.items()},
    )


def about(parts: dict[str, str]) -> list[str]:
    """What is worth knowing of the splits' texts, a line each: lengths, characters that training does not know."""
    counts = ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
    lines = [f"characters: {counts} (split by {SPLIT_BY})"]
    known = set(parts["train"])
    for name, part in parts.items():
        if unknown := sorted(set(part) - known):
            count = sum(part.count(one) for one in unknown)
            shown = " ".join(map(repr, unknown[:8])) + (" ..." if len(unknown) > 8 else "")
            lines.append(
                f"{name}: {count} of its characters ({shown}) do not occur in the training part: as characters they are"
                " read as unknown and not asked for; as subwords (--task.tokens subwords) they are bytes like others"
            )
    return lines


def _pieces(text: str) -> Iterator[Record]:
    for number, start in enumerate(range(0, len(text), PIECE)):
        yield number, {"text": text[start : start + PIECE]}
