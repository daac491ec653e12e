"""What the rows of one launch have in common: a header, the keys made with it, the seeds and folders of its jobs."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from transformer_jax.config import content_key, flatten
from transformer_jax.host.provenance import commit
from transformer_jax.lab.passes import spelled
from transformer_jax.lab.plan import Cell, Experiment
from transformer_jax.lab.sweep import SEED_STEP, Job

LONGER_SECONDS = 20 * 60.0
NOT_ENDED = {"passes": None, "budget_seconds": 0.0}


class Launch(NamedTuple):
    """What the rows of one launch have in common, and where they go."""

    folder: Path
    header: dict
    data: dict[str, dict[str, str]]  # by identity of the cell: the prepared data that it reads

    def key(self, cell: Cell) -> str:
        """Names what a row of the cell depends on: config, code, jax, device, prepared data."""
        header, data = self.header, self.data.get(cell.identity)
        versions = [str(header["versions"][name]) for name in ("jax", "jaxlib")]
        texts = [json.dumps(data, sort_keys=True)] if data else []
        return content_key(cell.identity, header["code"], *versions, header["device"], *texts)

    def plan_key(self, cells: Sequence[Cell]) -> str:
        """Names what the rows of these cells depend on."""
        return content_key(*sorted(map(self.key, cells)))

    def job(self, cell: Cell, round_: int) -> Job:
        """The seed and the folder of one round, the same whenever it is attempted."""
        folder = Path(os.path.abspath(self.folder)) / "cells" / f"{self.key(cell)}-{round_}"
        return Job(cell.config.train.seed + SEED_STEP * round_, folder, round_)

    def row(self, cell: Cell, round_: int, outcome: dict) -> dict:
        """One line of rows.jsonl; nothing in it depends on when, or in which launch, it was measured."""
        place = {"kind": "row", "key": self.key(cell), "round": round_}
        columns = {"rows": outcome["rows"]} if "rows" in outcome else outcome.get("row", {})
        reasons = {name: outcome[name] for name in ("message", "traceback", "requested_bytes") if name in outcome}
        return place | {"status": outcome["status"], "header": self.header["id"]} | cell.overrides | columns | reasons


def make_header(experiment: Experiment, cells: Sequence[Cell], given: Mapping, facts: dict, accept_stale: bool,
                options: Sequence[str] = ()) -> dict:  # fmt: skip
    """All that the rows of a launch have in common, and an id made from it.

    options: the words of the command line that chose the cells.
    """
    first = flatten(cells[0].config)
    base = flatten(experiment.base) | {key: first[key] for key in given}
    studies = dict.fromkeys(name for cell in cells for name in cell.studies)
    header = {
        "kind": "header",
        "experiment": experiment.name,
        "size": experiment.size,
        "base": base,
        "options": list(options),
        "studies": {name: [cell.overrides for cell in cells if name in cell.studies] for name in studies},
        **commit(),
        "accept_stale": accept_stale,
        **facts,
        "dtype": base["model.dtype"],
    }
    text = json.dumps(header)
    return {"id": content_key(text)} | json.loads(text)  # as it will be read back: tuples are lists


def ending(headers: Sequence[Mapping], key: str) -> dict:
    """How the clock ended the last launch of the plan of that key, by the headers of all; NOT_ENDED: it ended none."""
    return next((h["ended"] for h in reversed(headers) if h.get("ended", {}).get("plan") == key), NOT_ENDED)


def longer(header: Mapping, folder: Path) -> str:
    """The command that measures the cells of a launch again, in a new folder: three times as long where a clock ended
    it, and 20 minutes at least; else four times as many rounds."""
    options, rounds, ended = list(header.get("options", ())), "--measure.rounds", header.get("ended")
    if rounds in options:
        place = options.index(rounds) + 1
        options[place] = str(4 * int(options[place]))
    elif ended:
        options += ["--budget", spelled(max(LONGER_SECONDS, 3 * ended["budget_seconds"]))]
    else:
        options += [rounds, str(4 * header["base"]["measure.rounds"])]
    out = f"runs/{folder.resolve().name}_longer"  # no path of this machine on a page
    return shlex.join(["run.py", "experiment", header["experiment"], *options, "--out", out])


def rule_digests(experiment: Experiment) -> dict[str, str]:
    """The rules of the experiment's report, by name, as short texts that change with them."""
    rules = getattr(experiment.report, "RULES", {})
    if not rules:
        return {}
    from transformer_jax.report.rules import digest  # an experiment that concludes nothing need not wait for it

    return {name: digest(rule) for name, rule in rules.items()}
