"""`prepare`: original files into the layout that training reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from transformer_jax.config import TaskConfig


@dataclass(frozen=True)
class Prepare:
    """Turn a set's original files into the layout that training reads, for machines without a network."""

    name: tyro.conf.Positional[str]
    """tiny_shakespeare, mnist, ..."""
    source: Annotated[Path, tyro.conf.arg(name="from")]
    """The folder of the original files."""
    data_dir: str | None = None
    """Where to; None: $TFDS_DATA_DIR, or ~/.cache/transformer_jax/data."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        from transformer_jax.tasks import prepare, sets

        print(prepare.prepare(self.name, self.source, sets.data_dir(TaskConfig(data_dir=self.data_dir))))
        return 0
