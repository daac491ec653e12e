"""`prepare`: original files into the layout that training reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from transformer_jax.config import TaskConfig
from transformer_jax.host.folders import FolderError


@dataclass(frozen=True)
class Prepare:
    """Turn a set's original files into the layout that training reads, for machines without a network."""

    name: tyro.conf.Positional[str]
    """A set: tiny_shakespeare, mnist, imdb_reviews, cifar10 or cifar10_jpg_small."""
    source: Annotated[Path, tyro.conf.arg(name="from")]
    """The folder of the original files."""
    data_dir: str | None = None
    """Where to; None: $TFDS_DATA_DIR, or ~/.cache/transformer_jax/data."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        from transformer_jax.tasks import prepare, sets

        folder = sets.data_dir(TaskConfig(data_dir=self.data_dir))
        try:
            print(prepare.prepare(self.name, self.source, folder))
        except (FileExistsError, NotADirectoryError, PermissionError) as error:  # a folder that cannot take the set
            what = f"{folder} cannot take the set: {error.filename}: {error.strerror}" if error.errno else str(error)
            raise FolderError(what) from None
        return 0
