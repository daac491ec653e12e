"""The house's rules, read from the sources: who may import whom, and where Flax and pickle may stand."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "transformer_jax"

# Room -> the rooms that it may import besides itself. Left never imports right.
RUNNER = {"sweep", "experiment", "process", "progress", "runner", "worker"}
MAY_IMPORT = {
    "config": set(),
    "stopping": set(),
    "ops": set(),
    "layers": {"ops"},
    "models": {"config", "ops", "layers"},
    "tasks": {"config", "ops"},
    "train": {"config", "ops", "tasks"},
    "measure": {"config", "ops", "layers", "models", "train"},
    "peers": {"config", "ops", "models", "train", "measure"},
    "rows": {"config"},
    "report": {"config", "measure", "rows"},
    **{name: {"config", "rows", "stopping"} | RUNNER - {name} for name in RUNNER},
    "runs": {"config", "models", "tasks", "train", "measure", "rows", "stopping"},
    "configs": {"config"},
    "experiments": {
        "config",
        "configs",
        "ops",
        "layers",
        "models",
        "tasks",
        "train",
        "measure",
        "peers",
        "report",
        "sweep",
    },
}


def sources():
    return sorted(p for top in (PACKAGE, "experiments", "configs") for p in (ROOT / top).rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == PACKAGE else parts[0]


def imports(path: Path) -> set[str]:
    """All dotted names that a file imports, wherever in the file; `from a import b` gives a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides the room"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    found = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] in ("configs", "experiments", "run"):
            found.add(parts[0])
        elif parts[0] == PACKAGE and len(parts) > 1:
            found.add(parts[1])
    existing = {room_of(p) for p in sources()} | {"run"}
    return found & existing


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_left_never_imports_right(path):
    room = room_of(path)
    if room == "__init__":
        assert not rooms_imported(path)
        return
    assert room in MAY_IMPORT, f"{room} is a new room: add it to MAY_IMPORT and to the README's picture"
    forbidden = rooms_imported(path) - MAY_IMPORT[room] - {room}
    assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


def test_the_table_has_no_cycle():
    """The runner's files are one room of their own: among them order is free."""
    order = [
        "config",
        "stopping",
        "ops",
        "layers",
        "models",
        "tasks",
        "train",
        "measure",
        "peers",
        "rows",
        "runs",
        "report",
        "runner",
        "configs",
        "experiments",
    ]
    for room, allowed in MAY_IMPORT.items():
        here = "runner" if room in RUNNER else room
        for other in allowed:
            there = "runner" if other in RUNNER else other
            assert here == there or order.index(there) < order.index(here), f"{room} may import {other}"


def test_flax_stays_behind_its_fence():
    for path in sources():
        flax = {name for name in imports(path) if name.split(".")[0] == "flax"}
        if room_of(path) in ("layers", "models"):
            continue
        if path == ROOT / PACKAGE / "train" / "state.py":
            assert flax <= {"flax", "flax.struct"}
            continue
        if room_of(path) == "peers":  # there Flax is one of the libraries that are measured, beside Keras and PyTorch
            assert not flax & imported_at_the_top(path), path
            continue
        assert not flax, f"{path.relative_to(ROOT)} imports {sorted(flax)}"


def imported_at_the_top(path: Path) -> set[str]:
    tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {name.name for node in tops if isinstance(node, ast.Import) for name in node.names} | {
        node.module for node in tops if isinstance(node, ast.ImportFrom)
    }


def test_only_the_peers_know_other_frameworks():
    """Torch and Keras are an extra: the package must import without them, so only torch_*.py load one at the top."""
    for path in sources():
        for library in ("torch", "keras"):
            if room_of(path) != "peers":
                assert library not in {name.split(".")[0] for name in imports(path)}, path
            elif not path.stem.startswith("torch_"):
                assert library not in {name.split(".")[0] for name in imported_at_the_top(path)}, path
                assert not any(name.rpartition(".")[2].startswith("torch_") for name in imported_at_the_top(path)), path


def test_ops_import_only_jax_numpy_and_the_standard_library():
    outside = {
        "flax",
        "optax",
        "orbax",
        "grain",
        "tensorflow_datasets",
        "matplotlib",
        "rich",
        "tyro",
        "scipy",
    }
    for path in (ROOT / PACKAGE / "ops").rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & outside, path


def test_nothing_reads_or_writes_pickle():
    for path in [*sources(), ROOT / "run.py"]:
        modules = {name.split(".")[0] for name in imports(path)}
        assert not modules & {"pickle", "dill", "cloudpickle", "shelve", "joblib"}, path
        assert "allow_pickle=True" not in path.read_text(), path


def test_there_is_no_drawer_for_everything():
    for path in sources():
        assert path.stem not in ("utils", "util", "common", "helpers", "misc"), path
