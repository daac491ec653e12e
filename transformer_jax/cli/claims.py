"""`claims`: the experiments behind the claims of "RNN versus Transformer", and one page of verdicts."""

import json
import shlex
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from transformer_jax.cli.experiments import Experiment, require_workers
from transformer_jax.config import ConfigError
from transformer_jax.host import cores
from transformer_jax.host.accelerator import first_device
from transformer_jax.host.exhaustion import available_bytes
from transformer_jax.host.folders import FolderError, contents, require_free, require_writable, write_whole
from transformer_jax.host.signals import RESUMABLE
from transformer_jax.lab import crew, plan, preview, sweep

MISTAKE = 2
"""The exit code where an experiment could not be run as it was asked for."""
MAX_SEED = 2**31
COLUMNS = 100
"""Of the comments of a dry run; its commands stand on a line each, however long."""
WORKER_BYTES = 2 * 2**30
"""Memory for each worker where nobody says how many there are: twice what was seen of the claims (0.85 GiB at most)."""


@dataclass(frozen=True)
class Claims:
    """Measure the claims of the table "RNN versus Transformer" by their experiments, and write one page of verdicts.
    With `--only forgetting` the proposal to protect memory by EWC, which the plain command leaves out.

    A command that was stopped goes on when it is repeated; what is measured is not measured again.
    """

    only: tuple[str, ...] | None = None
    """Some of the claims, by name, with blanks or commas between them; None: the seven of the table."""
    size: plan.Size = "quick"
    """Of the experiments: quick takes minutes on a CPU, full an accelerator hours. An experiment that has one size is
    measured as it is."""
    out: Path | None = None
    """The folder: one for each experiment, and claims.html, claims.json and claims.png. None: runs/claims, of the full
    size runs/claims_full."""
    dry_run: bool = False
    """Show the commands, how many cells each has and how many of them are there, and how long it takes; measure
    nothing."""
    seed: int | None = None
    """The first seed of what is trained or drawn; None: 0. Another one, in a folder of its own, asks whether the
    verdicts are those of the seeds."""
    workers: int | None = None
    """How many cells run at once in experiments that only train (on a CPU), at most as many as there are cores; those
    that time run one after the other. None: as many as there are cores, and 2 GiB of free memory for each."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        from transformer_jax.lab import claims

        if self.workers is not None:
            require_workers(self.workers)
        if self.seed is not None and not 0 <= self.seed < MAX_SEED:
            raise ConfigError(f"--seed {self.seed}: must be at least 0 and below {MAX_SEED}")
        out = self.out or Path("runs") / ("claims" if self.size == "quick" else f"claims_{self.size}")
        _require_own(out)
        names = [name.strip() for text in self.only or () for name in text.split(",") if name.strip()]
        if self.only is not None and not names:
            raise ConfigError(f"--only needs a claim or several: {', '.join(claims.CLAIMS)}")
        wanted = claims.chosen(names)
        run = claims.experiments(wanted)
        sizes = claims.sizes(run, self.size)
        asked = {name: Experiment(name, sizes[name], one.only or None, out=out / name) for name, one in run.items()}
        seeded = {} if self.seed is None else {"train.seed": [str(self.seed)]}
        given = {name: {} if "train.seed" in getattr(plan.load(name).cells, "UNREAD", ()) else seeded for name in asked}
        require_writable(out / "claims.html", "--out", made=True)
        platform = first_device().platform
        alone = {name: why for name, experiment in asked.items() if (why := _why_alone(experiment, platform))}
        many = self.workers or (_as_many_as_fit() if len(alone) < len(asked) else 1)
        asked = {name: replace(one, workers=1 if name in alone else many) for name, one in asked.items()}
        if self.dry_run:
            return self._show(asked, given, wanted, alone)
        for why in dict.fromkeys(alone.values()) if (self.workers or 1) > 1 else ():
            names = ", ".join(name for name in alone if alone[name] == why)
            print(f"--workers {self.workers}: one worker for {names}, as {why}", file=sys.stderr)
        if one_size := [name for name, size in sizes.items() if size != self.size]:
            print(f"measured as always, as they have one size: {', '.join(one_size)}", file=sys.stderr)
        codes, errors = [], []
        for name, experiment in asked.items():
            try:
                codes.append(experiment.run(given[name]))
            except (ConfigError, FolderError) as error:  # the others can be measured all the same
                errors.append(f"error: {name}: {error}")
                codes.append(MISTAKE)
            if codes[-1] == RESUMABLE:
                return RESUMABLE
        if len(errors) < len(codes):
            asked_with = {"--size": self.size, "--seed": self.seed, "--out": self.out}
            again = [(option, str(value)) for option, value in asked_with.items() if value not in (None, "quick")]
            codes.append(_write(out, [word for pair in again for word in pair]))
        print(*errors, sep="\n", end="\n" * bool(errors), file=sys.stderr)
        return max(codes)

    def _show(
        self,
        asked: Mapping[str, Experiment],
        given: Mapping[str, dict],
        wanted: Mapping,
        alone: Mapping[str, str],
    ) -> int:
        """Prints each command and what it would do, or what keeps it from running, and the sum of all.

        alone: why an experiment has one worker, by its name.
        """
        from transformer_jax.lab import claims

        errors, found = [], {}
        for name, experiment in asked.items():
            try:
                found[name], length = experiment.foresee(given[name])
            except (ConfigError, FolderError) as error:  # the others can be measured all the same
                errors.append(f"error: {name}: {error}")
                continue
            more = ["--workers", str(experiment.workers)] if experiment.workers > 1 else []
            words = ["experiment", name, *experiment.options(given[name]), *more]
            of = [claim for claim, one in wanted.items() if name in {asks.experiment for asks in one.asked}]
            print(shlex.join(["run.py", *words, "--out", str(experiment.out)]), " #", *of)
            _comment(f"{_cells(found[name])}; {length}", "  # ")
            if took := "" if experiment.only else experiment.took():
                _comment(took, "  # ")
            if (self.workers or 1) > 1 and name in alone:
                _comment(f"--workers {self.workers}: one worker here, as {alone[name]}", "  # ")
        if found:
            _comment(f"together: {_cells(*found.values())}", "# ")
        if list(wanted) == list(claims.chosen([])) and (took := claims.TAKES.get(self.size)):
            _comment(f"all of the {self.size} size took {took}", "# ")
        print(*errors, sep="\n", end="\n" * bool(errors), file=sys.stderr)
        return MISTAKE if errors else 0


def _require_own(out: Path) -> None:
    """Raises FolderError where it is a file, or a folder with something else than what the claims write."""
    from transformer_jax.lab import claims

    if out.is_file():
        raise FolderError(f"{out} is a file: choose another --out")
    experiments = {asked.experiment for claim in claims.CLAIMS.values() for asked in claim.asked}
    begun = (out / name / file for name in experiments for file in (".lock", "rows.jsonl"))
    if not any(path.exists() for path in (out / "claims.html", *begun)):
        require_free(out)
        if out.is_dir() and (held := contents(out)):
            raise FolderError(f"{out} holds {held}, not those of claims: choose another --out")


def _comment(text: str, mark: str) -> None:
    """Prints what stands beside commands that a shell may read."""
    lines = textwrap.wrap(text, COLUMNS, initial_indent=mark, subsequent_indent=mark, break_on_hyphens=False)
    print(*lines, sep="\n", flush=True)


def _cells(*found: preview.Preview) -> str:
    count, there = sum(len(one.outlooks) for one in found), sum(one.there for one in found)
    return f"{count} cell{'s' * (count != 1)}, {there} there"


def _why_alone(experiment: Experiment, platform: str) -> str | None:
    found = plan.load(experiment.name, size=experiment.size)
    wanted = sweep.parse("--only", experiment.only or ())
    try:
        cells = plan.plan(found.cells, wanted=wanted, studies=found.studies)
    except ConfigError:  # which it says itself, and the others go on
        return None
    return crew.why_alone(found.cells, cells, platform)


def _as_many_as_fit() -> int:
    """A worker for each core, as long as there is memory; one where that is not known."""
    try:
        return max(1, min(cores.count(), available_bytes() // WORKER_BYTES))
    except OSError:
        return 1


def _write(out: Path, options: list[str]) -> int:
    """Writes the page of all claims, measured in the folder or not; prints the verdicts and where it is.

    options: what this command was given, for the one that measures what it leaves out.
    """
    from transformer_jax.lab import claims, ledger
    from transformer_jax.report.page import write_page
    from transformer_jax.report.plots import png

    found = {name: claims.answer(name, claim, out, options) for name, claim in claims.CLAIMS.items()}
    width = max(map(len, found))
    for name, one in found.items():
        print(f"{name.ljust(width)}  {one.finding.verdict if one.headers else one.finding.text}")
    path = write_page(out / "claims.html", ledger.ledger(found))
    write_whole(out / "claims.json", json.dumps(ledger.as_json(found), indent=1) + "\n")
    write_whole(out / "claims.png", png(ledger.picture(found)))
    print(path)
    return 0
