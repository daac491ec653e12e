"""A folder's manifest.json: the SHA-256 of each of its files, by which damage is found."""

import hashlib
import json
import os
from pathlib import Path

from transformer_jax.host.folders import write_whole

NAME = "manifest.json"
# Besides the manifest, what Orbax writes once more or first while it commits; nothing here reads them.
_WRITTEN_LATER = {NAME, "_CHECKPOINT_METADATA", "commit_success.txt"}


def write(folder: Path) -> None:
    """Writes the manifest of the files that are there now, and returns when it is on the disk."""
    path = write_whole(folder / NAME, json.dumps({name: _sha256(folder / name) for name in _files(folder)}))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def damage(folder: Path, only: str | None = None) -> list[str]:
    """What is missing or changed, in words, of all files or of one; empty for a folder that is whole."""
    try:
        expected = json.loads((folder / NAME).read_text())
        if only is not None:
            expected = {only: expected[only]}
        expected.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{NAME} cannot be read ({error})"]
    missing = [name for name in expected if not (folder / name).is_file()]
    changed = [name for name in expected if name not in missing and _sha256(folder / name) != expected[name]]
    return [f"{name} is missing" for name in missing] + [f"{name} was changed" for name in changed]


def _files(folder: Path) -> list[str]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for path in paths if (name := path.relative_to(folder).as_posix()) not in _WRITTEN_LATER]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
