"""`compare`: result folders of one experiment, or training runs, beside each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from transformer_jax.cli import streams
from transformer_jax.config import ConfigError
from transformer_jax.host.folders import RESULTS, TRAINING, FolderError, contents, require_writable
from transformer_jax.report.tables import shown

LINES = 12


@dataclass(frozen=True)
class Compare:
    """Compare result folders of one experiment (two commits, machines, jax versions), or training runs of one task.

    Results are compared with the first, cell by cell; runs are drawn over each other. A page is written. The exit code
    is 0 whatever is found, but for --fail-above.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """BEFORE, AFTER, and more to compare with BEFORE."""
    out: Path | None = None
    """The page; None: compare_AFTER.html in the first folder, BEFORE."""
    fail_above: float | None = None
    """End with code 1 where a cell's time is more than this times that in BEFORE, with its whole interval (1.1)."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        if len(self.folders) < 2:
            raise ConfigError("compare needs two folders or more: python run.py compare BEFORE AFTER")
        if self.fail_above is not None and not 0 < self.fail_above < math.inf:
            raise ConfigError(f"--fail-above {self.fail_above}: must be positive and finite, as 1.1 is")
        kind = _kind(self.folders)
        from transformer_jax.lab import compare
        from transformer_jax.report.page import write_page

        path = self.out or self.folders[0] / f"compare_{'_'.join(f.resolve().name for f in self.folders[1:])}.html"
        require_writable(path, "--out")
        if kind == TRAINING and streams.there(self.folders):
            raise ConfigError("streams of tasks have no one curve to draw: `evaluate` puts their accuracies in a table")
        if kind == TRAINING:
            from transformer_jax.lab import trial_page

            print(trial_page.overlay(self.folders, path))
            return 0
        sides = compare.read(self.folders)
        found = [compare.compare(sides[0], side) for side in sides[1:]]
        compare.require_common(sides, found)
        facts = [(side.name, {k: v for k, v in side.header.items() if k not in ("kind", "studies")}) for side in sides]
        write_page(path, compare.report(sides, found), facts=facts)
        slow = []
        for one in found:
            _print(sides[0].name, one)
            slow += one.slower_than(self.fail_above) if self.fail_above is not None else []
        for cell in slow:
            print(f"above {self.fail_above:g}: {cell.label}  {shown(cell.ratio)}")
        print(path)
        return 1 if slow else 0


def _kind(folders: Sequence[Path]) -> str:
    """What all the folders hold.

    Raises:
      FolderError: one is not there, or holds neither results nor a training run.
      ConfigError: they hold different things, or one is named twice.
    """
    kinds = {folder: contents(folder) for folder in folders}
    for folder, kind in kinds.items():
        if kind is None:
            raise FolderError(f"{folder} holds neither {RESULTS} (rows.jsonl) nor {TRAINING} (config.json)")
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{folder} holds {kind}" for folder, kind in kinds.items())
        raise ConfigError(f"{found}: compare takes folders of one kind")
    seen: dict[Path, Path] = {}
    for folder in folders:
        if (other := seen.setdefault(folder.resolve(), folder)) is not folder:
            raise ConfigError(f"{folder} is {other}, named twice: compare takes different folders")
    return kinds[folders[0]]


def _print(before: str, one) -> None:
    """The cells that differ, the farthest from 1 first, and how many there are of each verdict."""
    differing = [cell for cell in one.shared if cell.verdict not in ("about equal", "equal", "undecided", "ok")]
    differing.sort(key=lambda cell: -abs(math.log(cell.ratio.value)) if cell.ratio.n else -math.inf)
    print(f"{one.name} over {before}")
    lines = [(cell.label, shown(cell.ratio) if cell.ratio.n else "", cell.verdict) for cell in differing[:LINES]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    if len(differing) > LINES:
        print(f"  and {len(differing) - LINES} more that differ")
    counts = ", ".join(f"{count} {verdict}" for verdict, count in one.counts.most_common())
    alone = f"{len(one.only[0])} only in {before}, {len(one.only[1])} only in {one.name}"
    print(f"{len(one.shared)} common cells: {counts or 'none'}; {alone}")
