"""Where prepared sets lie, and whether one is still what it was: names and files alone, nothing of their content."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer_jax.config import TaskConfig


def data_dir(config: TaskConfig) -> Path:
    """The folder of prepared sets: task.data_dir, else $TFDS_DATA_DIR, else ~/.cache/transformer_jax/data."""
    named = config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/.cache/transformer_jax/data"
    return Path(named).expanduser()


def folders(name: str, folder: Path) -> list[Path]:
    """The versions of a set, oldest first; what tensorflow-datasets is still writing is called incomplete.*."""
    found = sorted(path.parent for path in (folder / name).glob("**/dataset_info.json"))
    return [path for path in found if not path.name.startswith("incomplete.")]


def is_name(name: str) -> bool:
    """Whether a set of the user's own may be called so: a folder of it, and a file's name, are made from it."""
    return re.fullmatch("[a-z][a-z0-9_]{,39}", name) is not None


def own(name: str, folder: Path) -> tuple[str, str] | None:
    """The kind (`own.KINDS`) and the training files of a set of the user's own, prepared there under that name.

    The set's other files are not looked at: `sets.open_set` checks them.

    Returns:
      None: there is none.
    """
    metadata = _metadata(name, folder)
    try:
        return metadata["kind"], ", ".join(metadata["files"]["train"].values())
    except (KeyError, TypeError, AttributeError):  # no set, or not such a one
        return None


def changed(described: Mapping[str, Any], folder: Path) -> list[str]:
    """The source files of a prepared set that are others now than when `sets.describe` told of it.

    None where the set is not there, or was made before its sources were recorded.
    """
    before, now = described.get("sha256"), _metadata(_set(described), folder).get("sha256")
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return []
    return sorted(file for file, sha256 in now.items() if before.get(file) != sha256)


def _set(described: Mapping[str, Any]) -> str:
    return str(described.get("source", "")).partition("/")[0]


def _metadata(name: str, folder: Path) -> dict:
    """What a set says of its sources; {} where there is none, or it says nothing."""
    try:
        found = json.loads((folders(name, folder)[-1] / "metadata.json").read_text()) if is_name(name) else {}
        return found if isinstance(found, dict) else {}
    except (IndexError, OSError, ValueError):
        return {}
