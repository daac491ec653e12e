"""`prepare`: original files into the layout that training reads."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from transformer_jax.config import TaskConfig

FEW = 100  # examples of a split, below which its metrics are a matter of luck


@dataclass(frozen=True)
class Prepare:
    """Turn original files into the layout that training reads: a published set's, or your own.

    Sentence pairs of your own: prepare parallel --from FOLDER --source train.en --target train.fr --name mine, two
    UTF-8 texts (.gz or not) with a sentence a line, line i of one meaning what line i of the other does. Where val.en
    (or valid, validation, dev) and test.en lie beside train.en, and the same for the target, they are the validation
    and the test split; of a split without such files 5 % of the pairs are held out, by a hash of the source sentence.

    A text of your own: prepare text --from FILE.txt --name mine, UTF-8, split by position: the first 90 % train, the
    next 5 % validate, the last 5 % test.

    Labelled texts of your own: prepare labelled --from FILE.tsv --name mine, a table (.tsv or .csv, .gz or not) whose
    first line names the columns, text and label among them. Where val.tsv and test.tsv lie beside train.tsv they are
    the other splits; of a split without a file 5 % of the texts are held out, by a hash of the text.

    A series of your own: prepare series --from FILE.csv --name meter, a UTF-8 CSV file whose first line names its
    columns: one of times, ISO 8601, that rise by one step, and others of numbers. The first 70 % of its steps train,
    the next 10 % validate, the last 20 % test.

    Then: train CONFIG --task.name mine.
    """

    name: tyro.conf.Positional[str]
    """A set: tiny_shakespeare, mnist, imdb_reviews, cifar10, cifar10_jpg_small, multi30k, sst2, ett_h1; or of your own:
    parallel, text, labelled, series."""
    folder: Annotated[Path, tyro.conf.arg(name="from")]
    """The folder of the original files; of text, labelled and series: the file."""
    source: str | None = None
    """Of parallel: the file of the sentences that are translated."""
    target: str | None = None
    """Of parallel: the file of their translations."""
    text_column: str | None = None
    """Of labelled: the column of the texts; None: text."""
    label_column: str | None = None
    """Of labelled: the column of the labels; None: label."""
    time_column: str | None = None
    """Of series: the column of the times, where more than one could be it; they may then be whole numbers as well."""
    columns: str | None = None
    """Of series: the columns of the numbers, with commas between them; None: all but that of the times."""
    own_name: Annotated[str | None, tyro.conf.arg(name="name")] = None
    """Of your own data: what --task.name will call the set: small letters, digits and _."""
    data_dir: str | None = None
    """Where to; None: $TFDS_DATA_DIR, or ~/.cache/transformer_jax/data."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        from transformer_jax.tasks import own, place, prepare, sets
        from transformer_jax.tasks.originals import ORIGINALS

        prepare.require_known(self.name)
        names = ("source", "target", "text_column", "label_column", "time_column", "columns")
        options = {name: getattr(self, name) for name in names}
        own.check(self.name, options | {"name": self.own_name})
        data_dir, moved = place.data_dir(TaskConfig(data_dir=self.data_dir)), ""
        if self.data_dir is not None:
            moved = f" --task.data-dir {shlex.quote(self.data_dir)}"
        if self.name not in own.KINDS:
            print(prepare.prepare(self.name, self.folder, data_dir))
            self._print_counts(sets.open_set(self.name, data_dir).info)
            print(f"to train on it: python run.py train {ORIGINALS[self.name].config}{moved}")
            return 0
        given = {name: value for name, value in options.items() if value is not None}
        print(prepare.prepare_own(self.name, self.own_name, self.folder, data_dir, **given))
        builder, about = sets.open_set(self.own_name, data_dir), own.KINDS[self.name].about
        if about is None:
            self._print_counts(builder.info)
        else:
            print("\n".join(about({split: sets.records(builder, split) for split in builder.info.splits})))
        short = _shorter(len(sets.records(builder, "train"))) if self.name == "series" else ""
        config = own.KINDS[self.name].config
        print(f"to train on it: python run.py train {config} --task.name {self.own_name}{short}{moved}")
        return 0

    @staticmethod
    def _print_counts(info) -> None:
        """How many examples each split has, and how those without files of their own were chosen."""
        metadata = info.metadata or {}
        files = metadata.get("files", info.splits)
        counts = {split: of.num_examples for split, of in info.splits.items()}
        held = f" (held out by {metadata.get('split_by', 'a hash')})"
        chosen = {split: "" if split in files else held for split in counts}
        print(", ".join(f"{split} {count}{chosen[split]}" for split, count in counts.items()))
        if "kind" in metadata and (few := [split for split, count in counts.items() if count < FEW]):
            print(f"fewer than {FEW} examples: {', '.join(few)}; metrics of so few say little", file=sys.stderr)


def _shorter(steps: int) -> str:
    """Options with which windows fit into a series whose training part has so few steps; empty: they fit without."""
    import configs
    from transformer_jax.tasks import own

    config = configs.get(own.KINDS["series"].config)
    if config.task.seq_len + config.task.horizon <= steps // 2:
        return ""
    seq_len = max(1, steps // 4)
    patches = f" --model.patch-len {seq_len} --model.patch-stride 1" if seq_len < config.model.patch_len else ""
    return f" --task.seq-len {seq_len} --task.horizon {max(1, steps // 14)}{patches}"
