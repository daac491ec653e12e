"""What `evaluate` and `generate` do for translations."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from transformer_jax.config import ConfigError
from transformer_jax.host import devices
from transformer_jax.host.folders import write_whole
from transformer_jax.train.log import read_config

# What needs jax is imported where it is used: mistakes answer at once.


def generate(options, build) -> int:
    """Prints the translation of `options.text`; draws its alignment where one is asked for."""
    from transformer_jax.lab import alignments, translations

    if options.alignment is not None:
        alignments.check(options.alignment)
    translations.check(options.beam)
    read_config(options.folder)  # a folder without a run needs no device to be refused
    devices.require()
    found = translations.translate(
        options.folder,
        build,
        options.text,
        size=options.beam,
        checkpoint=options.checkpoint,
        data_dir=options.data_dir,
        alignment=options.alignment is not None,
    )
    if found.unseen:
        words = ", ".join(found.unseen)
        print(f"no training sentence has {words}: what is written for that is a guess", file=sys.stderr)
    print(found.text)
    if options.alignment is not None:
        alignments.write(options.alignment, found.weights_NxHxLxS, found.source_tokens, found.target_tokens)
    return 0


@dataclass
class Translated:
    """Runs of one translation, evaluated: what each wrote is kept."""

    task: object
    size: int | None
    written: dict[Path, list] = field(default_factory=dict)
    """By run: what each lane wrote."""

    @classmethod
    def of(cls, folders: Iterable[Path], build, options) -> "Translated | None":
        """None where the runs are no translations.

        Raises:
          ConfigError: they are none, and an option is for translations only; or the beam is none.
        """
        from transformer_jax.lab import trained, translations

        translations.check(options.beam)
        folder = next(iter(folders))
        _, task = trained.task_of(folder, build, options.data_dir)
        if task.translation is not None:
            return cls(task, options.beam)
        for name in ("beam", "translations"):
            if getattr(options, name) is not None:
                raise ConfigError(f"--{name}: {folder} holds a run on {task.name}, which is not a translation")
        return None

    def evaluate(self, folder: Path, *arguments):
        """As `trained.evaluate`."""
        from transformer_jax.lab import translations

        found = translations.evaluate(folder, *arguments, size=self.size)
        self.written[folder] = found.written
        return found

    def show(self, options) -> None:
        """Prints how BLEU was counted, and by how much other runs differ from the first; writes --translations."""
        from transformer_jax.lab import translations
        from transformer_jax.tasks import translation_quality as quality

        how = "greedy"
        if self.size is not None:
            how = f"beam {self.size}, length penalty {translations.LENGTH_PENALTY}"
        print(f"BLEU: {self.task.objective.signature or quality.signature()}; {how};"
              f" low and high: 95 % interval, {quality.RESAMPLES:,} resamples of the sentences")  # fmt: skip
        first, *others = self.written
        for other in others:
            try:
                found = quality.difference(self.written[first], self.written[other])
            except ValueError as error:
                raise ConfigError(f"{first} and {other}: {error}") from None
            print(f"BLEU of {first} - {other}: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}],"
                  " the same sentences resampled")  # fmt: skip
        if options.translations is not None:
            names = [str(run) for run in self.written] if others else ["hypothesis"]
            columns = [(name, lanes[0]) for name, lanes in zip(names, self.written.values(), strict=True)]
            write_whole(options.translations, translations.as_tsv(self.task, options.split, columns))
