"""The house's rules, read from the sources: who may import whom, and where Flax and pickle may stand."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "transformer_jax"

# Room -> the rooms that it may import besides itself, in an order in which left never imports right.
FOUNDATION = {"typed", "config", "host", "intervals"}
MAY_IMPORT = {
    "typed": set(),
    "config": {"typed"},
    "host": set(),
    "intervals": set(),
    "ops": set(),
    "layers": {"ops"},
    "models": {"typed", "config", "ops", "layers"},
    "tasks": {"typed", "config", "host", "ops"},
    "train": {"typed", "config", "host", "ops", "tasks"},
    "measure": FOUNDATION | {"ops", "layers", "models", "tasks", "train"},
    "continual": FOUNDATION | {"ops", "tasks", "train"},
    "peers": FOUNDATION | {"ops", "layers", "models", "tasks", "train", "measure"},
    "report": FOUNDATION,
    "lab": FOUNDATION | {"ops", "models", "tasks", "train", "measure", "continual", "report"},
    "configs": {"config"},
    "experiments": FOUNDATION | {"configs", "ops", "models", "tasks", "measure", "continual", "peers", "report", "lab"},
    "cli": FOUNDATION | {"configs", "ops", "models", "tasks", "train", "measure", "continual", "report", "lab"},
    "run": {"cli", "host"},
}
# What experiments may take of the laboratory: how a sweep is written, one step that is timed, one training run in its
# folder, what it learned, one at a rate that was chosen, how many steps it takes and what a page says of that, and
# tasks one after another.
OF_LAB = {"sweep", "timed", "trial", "trained", "tuned", "equal_seconds", "in_seconds", "streams"}


def sources() -> list[Path]:
    tops = [ROOT / PACKAGE, ROOT / "experiments", ROOT / "configs"]
    return [*sorted(path for top in tops for path in top.rglob("*.py")), ROOT / "run.py"]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == PACKAGE else parts[0]


def statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """The import statements of a file, wherever in the file."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    relative = [node for node in found if isinstance(node, ast.ImportFrom) and node.level]
    assert not relative, f"{shown(path)}: a relative import hides the room"
    return found


def names_in(nodes) -> set[str]:
    """The dotted names that statements import; `from a import b` gives a and a.b."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports(path: Path) -> set[str]:
    return names_in(statements(path))


def imported_at_the_top(path: Path) -> set[str]:
    tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return names_in(tops)


def libraries(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def rooms_imported(path: Path) -> set[str]:
    found = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] in ("configs", "experiments", "run"):
            found.add(parts[0])
        elif parts[0] == PACKAGE and len(parts) > 1:
            found.add(parts[1])
    return found & {room_of(p) for p in sources()}


@pytest.mark.parametrize("path", sources(), ids=shown)
def test_left_never_imports_right(path):
    room = room_of(path)
    if room == "__init__":
        assert not rooms_imported(path)
        return
    assert room in MAY_IMPORT, f"{room} is not a room of the house: add it to MAY_IMPORT and to the README's picture"
    forbidden = rooms_imported(path) - MAY_IMPORT[room] - {room}
    assert not forbidden, f"{shown(path)} imports {sorted(forbidden)}"


def test_the_table_of_rooms_has_no_circle():
    seen = set()
    for room, allowed in MAY_IMPORT.items():
        assert allowed <= seen, f"{room} may import {sorted(allowed - seen)}, which stand to its right"
        seen.add(room)


def file_of(name: str) -> Path | None:
    """The file of a dotted name, or of the module that defines it; None for what is not of this checkout."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:end])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None


def files_imported(path: Path) -> set[Path]:
    """The files whose names a file takes: of `from a import b` the module a.b if there is one, else a."""
    found = set()
    for node in statements(path):
        if isinstance(node, ast.Import):
            found |= {file_of(alias.name) for alias in node.names}
        else:
            found |= {file_of(f"{node.module}.{alias.name}") for alias in node.names}
    return found - {None}


def test_no_file_imports_itself_by_way_of_others():
    """Imports inside functions count: a circle that is only closed later can no more be read from an end."""
    graph = {path: files_imported(path) for path in sources()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(shown(path) for path in error.args[1]))


def test_experiments_take_of_the_laboratory_only_sweeps_and_trials():
    for path in (ROOT / "experiments").rglob("*.py"):
        taken = {name.split(".")[2] for name in imports(path) if name.startswith(f"{PACKAGE}.lab.")}
        assert taken <= OF_LAB, f"{shown(path)} imports lab.{', lab.'.join(sorted(taken - OF_LAB))}"


def test_reports_draw_rows_and_measure_nothing():
    """They are drawn again from the rows alone, on machines that lack the accelerator, and load in a second."""
    heavy = {"jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets"}
    rooms = FOUNDATION | {"report", "configs", "experiments"}
    of_lab = ROOT / PACKAGE / "lab" / "in_seconds.py"  # all that a report may take of the laboratory
    reports = [*(ROOT / "experiments").rglob("report.py")]
    for path in [*(ROOT / PACKAGE / "report").rglob("*.py"), of_lab, *reports]:
        assert not libraries(imports(path)) & heavy, shown(path)
        assert rooms_imported(path) <= rooms | ({"lab"} if of_lab in files_imported(path) else set()), shown(path)
    taken = {file for path in reports for file in files_imported(path) if room_of(file) == "lab"}
    assert taken == {of_lab}


def test_flax_stays_behind_its_fence():
    for path in sources():
        flax = {name for name in imports(path) if name.split(".")[0] == "flax"}
        if room_of(path) in ("layers", "models"):
            continue
        if path == ROOT / PACKAGE / "train" / "state.py":
            assert flax <= {"flax", "flax.struct"}
            continue
        if room_of(path) == "peers":  # there Flax is one of the libraries that are measured, beside Keras and PyTorch
            assert not flax & imported_at_the_top(path), shown(path)
            continue
        assert not flax, f"{shown(path)} imports {sorted(flax)}"


def test_only_the_peers_know_other_frameworks():
    """Torch and Keras are an extra: the package must import without them, so only torch_*.py load one at the top."""
    for path in sources():
        for library in ("torch", "keras"):
            if room_of(path) != "peers":
                assert library not in libraries(imports(path)), shown(path)
            elif not path.stem.startswith("torch_"):
                assert library not in libraries(imported_at_the_top(path)), shown(path)
        if room_of(path) == "peers" and not path.stem.startswith("torch_"):
            taken = {name.rpartition(".")[2] for name in imported_at_the_top(path) if name.startswith(PACKAGE)}
            assert not any(name.startswith("torch_") for name in taken), shown(path)


def test_ops_import_only_jax_numpy_and_the_standard_library():
    outside = {"flax", "optax", "orbax", "grain", "tensorflow_datasets", "matplotlib", "rich", "tyro", "scipy"}
    for path in (ROOT / PACKAGE / "ops").rglob("*.py"):
        assert not libraries(imports(path)) & outside, shown(path)


def test_nothing_reads_or_writes_pickle():
    for path in sources():
        assert not libraries(imports(path)) & {"pickle", "dill", "cloudpickle", "shelve", "joblib"}, shown(path)
        assert "allow_pickle=True" not in path.read_text(), shown(path)


def test_one_function_locks_folders():
    """Another way would have faults of its own; rows.jsonl, of which each line is appended under a lock, is a file."""
    locking = {shown(path) for path in sources() if "fcntl" in imports(path)}
    assert locking == {"transformer_jax/host/folders.py", "transformer_jax/lab/rows.py"}


def test_there_is_no_drawer_for_everything():
    for path in sources():
        assert path.stem not in ("utils", "util", "common", "helpers", "misc"), shown(path)


def test_what_a_mixer_is_is_asked_of_its_record():
    """A comparison of a mixer's name with attention's would have to be found again for the next one of its kind."""
    for path in (ROOT / PACKAGE).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Compare):
                continue
            words = [ast.unparse(side) for side in (node.left, *node.comparators)]
            named = any(word.rpartition(".")[2] == "mixer" for word in words)
            assert not (named and "'attention'" in words), f"{shown(path)}, line {node.lineno}"
