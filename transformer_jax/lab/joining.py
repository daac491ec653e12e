"""What a folder already holds of a run, and whether the run may join it."""

from pathlib import Path

from transformer_jax.host.folders import FolderError
from transformer_jax.lab import rows

Statuses = dict[tuple[str, int], str]  # by (identity of the cell, round)


def held(folder: Path, header: dict) -> tuple[Statuses, list[str], list[dict]]:
    """What there is of a run with this header; nothing is written.

    Returns:
      the statuses of the rows that count, the reader's notes, and the headers of all launches before.

    Raises:
      FolderError: the folder holds a training, another experiment or size of it, or rows that this run's must not be
        compared with.
    """
    if (folder / "checkpoints").exists():
        raise FolderError(f"{folder} holds a training run: choose another --out")
    results = of_experiment(folder, header["experiment"], header["size"])
    joined = rows.current(rows.Results([*results.headers, header], results.rows, results.notes))
    for one in _headers_of_rows(joined):
        rows.refuse_mix(one, header)
        _refuse_other_base(folder, one, header)
    by_id = {one["id"]: one for one in joined.headers}
    statuses = {(rows.identity(r, by_id[r["header"]]), r["round"]): r["status"] for r in joined.rows}
    return statuses, joined.notes, results.headers


def of_experiment(folder: Path, experiment: str, size: str) -> rows.Results:
    """What the folder holds of an experiment in a size.

    Raises:
      FolderError: it holds another experiment or size, or its rows cannot be read.
    """
    results = rows.read(folder) if (folder / rows.FILE).exists() else rows.Results([], [], [])
    for one in _headers_of_rows(results):
        if (name := one.get("experiment")) != experiment:
            raise FolderError(f"{folder} holds the experiment {name}: choose another --out")
    for one in results.headers:
        if (other := one.get("size", "quick")) != size:
            raise FolderError(
                f"{folder} holds the {other} size of {experiment}, and a folder has one:"
                f" --size {other} goes on with it, another --out takes the {size} one"
            )
    return results


def _headers_of_rows(results: rows.Results) -> list[dict]:
    used = {row["header"] for row in results.rows}
    return [header for header in results.headers if header["id"] in used]


def _refuse_other_base(folder: Path, one: dict, other: dict) -> None:
    swept = {key for header in (one, other) for override in _overrides(header) for key in override}
    for key in one["base"].keys() - swept - set(rows.NOT_IN_KEY):
        if one["base"][key] != other["base"].get(key):
            raise FolderError(
                f"{folder} holds cells with {key}={one['base'][key]}, this run has {other['base'].get(key)}:"
                " choose another --out"
            )


def _overrides(header: dict) -> list[dict]:
    return [override for of_study in header.get("studies", {}).values() for override in of_study]
