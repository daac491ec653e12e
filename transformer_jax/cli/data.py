"""`prepare`: original files into the layout that training reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from transformer_jax.config import ConfigError, TaskConfig


@dataclass(frozen=True)
class Prepare:
    """Turn a set's original files into the layout that training reads, for machines without a network.

    Sentence pairs of your own: prepare parallel --from FOLDER --source train.en --target train.fr --name mine, two
    UTF-8 texts (.gz or not) with a sentence a line, line i of one meaning what line i of the other does. Where val.en
    (or valid, validation, dev) and test.en lie beside train.en, and the same for the target, they are the validation
    and the test split; of a split without such files 5 % of the pairs are held out, by a hash of the source sentence.
    Then: train CONFIG --task.name mine.
    """

    name: tyro.conf.Positional[str]
    """A set: tiny_shakespeare, mnist, imdb_reviews, cifar10, cifar10_jpg_small, multi30k; or parallel: your own."""
    folder: Annotated[Path, tyro.conf.arg(name="from")]
    """The folder of the original files."""
    source: str | None = None
    """Of parallel: the file of the sentences that are translated."""
    target: str | None = None
    """Of parallel: the file of their translations."""
    own_name: Annotated[str | None, tyro.conf.arg(name="name")] = None
    """Of parallel: what --task.name will call the set: small letters, digits and _."""
    data_dir: str | None = None
    """Where to; None: $TFDS_DATA_DIR, or ~/.cache/transformer_jax/data."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        from transformer_jax.tasks import prepare, sets

        data_dir = sets.data_dir(TaskConfig(data_dir=self.data_dir))
        own = {"--source": self.source, "--target": self.target, "--name": self.own_name}
        if self.name == sets.PARALLEL:
            if absent := [option for option, value in own.items() if value is None]:
                raise ConfigError(f"prepare parallel needs {' and '.join(absent)}: {_EXAMPLE}")
            made = prepare.prepare_parallel(self.own_name, self.folder, self.source, self.target, data_dir)
        elif given := [option for option, value in own.items() if value is not None]:
            raise ConfigError(f"prepare {self.name} has no use for {' and '.join(given)}: {_EXAMPLE}")
        else:
            made = prepare.prepare(self.name, self.folder, data_dir)
        info = sets.open_set(self.own_name or self.name, data_dir).info
        own_files = (info.metadata or {}).get("files", info.splits)
        counts = [f"{s} {of.num_examples}{'' if s in own_files else ' (held out)'}" for s, of in info.splits.items()]
        print(f"{made}\n{', '.join(counts)}")
        return 0


_EXAMPLE = "sentence pairs of your own are prepare parallel --from FOLDER --source a.en --target a.fr --name mine"
