"""The code version follows what cells.py imports, in its syntax, and nothing else."""

import shutil

import pytest

from transformer_jax.host.provenance import ROOT
from transformer_jax.lab import closure

TREE = {
    "experiments/recall/cells.py": """
        from transformer_jax.lab import trial
        from transformer_jax.tasks import generated
        def cell(config, job):
            from transformer_jax.ops.hidden import depth  # jax takes seconds to load
            return trial.train(generated.build(), depth)
    """,
    "experiments/recall/report.py": "import transformer_jax.report.kit",
    "transformer_jax/__init__.py": "",
    "transformer_jax/lab/__init__.py": '"""Where experiments run."""',
    "transformer_jax/lab/trial.py": """
        \"\"\"Trains.\"\"\"
        from transformer_jax.layers.block import Block
        RATE = 0.5  # found by trying
        class Trial:
            \"\"\"One run.\"\"\"
            steps: int = 3
            \"\"\"How many.\"\"\"
        def train(task, depth):
            \"\"\"Trains.\"\"\"
            return {"loss": RATE * depth}
    """,
    "transformer_jax/lab/trial_display.py": "BAR = 40",
    "transformer_jax/layers/block.py": "import transformer_jax.ops.attention as attention\nBlock = attention.attend",
    "transformer_jax/ops/attention.py": "def attend(q): return q + 1",
    "transformer_jax/ops/hidden/__init__.py": "from .inner import depth",
    "transformer_jax/ops/hidden/inner.py": "from ..sizes import depth",
    "transformer_jax/ops/sizes.py": "depth = 2",
    "transformer_jax/tasks/generated.py": "def build(): return 1",
    "transformer_jax/tasks/imdb.py": "def build(): return 2",
    "transformer_jax/report/kit.py": "COLOUR = 'blue'",
    "README.md": "# Results",
}


@pytest.fixture
def tree(tmp_path):
    from textwrap import dedent

    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return tmp_path


def version(tree, name="recall"):
    return closure.code_version(tree / "experiments" / name / "cells.py", tree)


def edited(tree, name, before, after):
    """The code version after an edit."""
    path = tree / name
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    return version(tree)


TRIAL = "transformer_jax/lab/trial.py"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        (TRIAL, "# found by trying", "# measured on two machines, see docs/notes"),
        (TRIAL, "  # found by trying", ""),
        (TRIAL, '"""Trains."""\nfrom', '"""Trains a model,\n\nand more."""\n\n\nfrom'),
        (TRIAL, '    """One run."""\n', ""),
        (TRIAL, '"""How many."""', '"""How many, at least one."""'),
        (TRIAL, "return {", "return {\n        "),
        (TRIAL, '{"loss"', "{'loss'"),
        ("transformer_jax/lab/__init__.py", "Where", "The place where"),
        ("experiments/recall/cells.py", "# jax takes seconds to load", "# slow"),
        ("experiments/recall/cells.py", "def cell", "FULL: dict = {}\nTAKES = {'full': 'hours'}\ndef cell"),
        ("experiments/recall/report.py", "import", "import json, "),
        ("transformer_jax/report/kit.py", "blue", "red"),
        ("transformer_jax/lab/trial_display.py", "40", "80"),
        ("transformer_jax/tasks/imdb.py", "2", "3"),
        ("README.md", "Results", "No results"),
    ],
)
def test_what_no_cell_runs_changes_no_version(tree, name, before, after):
    assert version(tree) == edited(tree, name, before, after)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("experiments/recall/cells.py", "depth)", "depth + 0)"),
        (TRIAL, "0.5", "0.25"),
        (TRIAL, "steps: int = 3", "steps: int = 4"),
        (TRIAL, '"loss"', '"loss "'),
        ("transformer_jax/layers/block.py", "attention.attend", "attention.attend or None"),
        ("transformer_jax/ops/attention.py", "q + 1", "q - 1"),  # through two imports
        ("transformer_jax/ops/sizes.py", "2", "3"),  # through one inside a function, a package and a relative one
        ("transformer_jax/ops/hidden/__init__.py", "from .inner", "from transformer_jax.ops.hidden.inner"),
        ("transformer_jax/tasks/generated.py", "1", "2"),  # the cell's own task
        ("transformer_jax/__init__.py", "", "import os"),
        ("transformer_jax/lab/__init__.py", '"""Where experiments run."""', "import os"),
    ],
)
def test_what_a_cell_runs_changes_its_version(tree, name, before, after):
    assert version(tree) != edited(tree, name, before, after)


def test_files_that_come_go_or_move_change_the_version(tree):
    versions = [version(tree)]
    (tree / "transformer_jax/lab/other.py").write_text("")
    versions.append(version(tree))
    (tree / "transformer_jax/lab/trial.py").rename(tree / "transformer_jax/lab/other.py")
    versions.append(edited(tree, "experiments/recall/cells.py", "import trial", "import other as trial"))
    (tree / "transformer_jax/ops/sizes.py").unlink()
    versions.append(version(tree))
    assert versions[0] == versions[1] and len(set(versions)) == 3


def test_two_experiments_of_one_text_in_two_folders_have_versions_of_their_own(tree):
    (tree / "experiments/recall").rename(tree / "experiments/other")
    assert closure.closure(tree / "experiments/other/cells.py", tree).keys() >= {"experiments.other.cells"}
    assert not any("report" in name for name in closure.closure(tree / "experiments/other/cells.py", tree))


def test_circles_end_and_a_wrong_file_is_named_by_python(tree):
    (tree / "transformer_jax/ops/attention.py").write_text("from transformer_jax.layers import block")
    assert len(version(tree)) == 12
    (tree / "transformer_jax/ops/attention.py").write_text("def (")
    with pytest.raises(SyntaxError):
        version(tree)


def test_constants_that_python_calls_equal_are_told_from_one_another(tree):
    texts = [
        "x = 1",
        "x = 1.0",
        "x = True",
        "x = '1'",
        "x = b'1'",
        "x = None",
        "x = ...",
        "x = -1",
        "x = [1]",
        "x = (1,)",
    ]
    assert len({closure.source(text.encode()).digest for text in texts}) == len(texts)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A copy of this checkout's code, to edit."""
    root = tmp_path_factory.mktemp("real")
    for top in closure.TOPS:
        shutil.copytree(ROOT / top, root / top, ignore=shutil.ignore_patterns("__pycache__"))
    return root


EDITS = [  # file, old text, its replacement, the experiments whose rows this makes stale
    ("transformer_jax/ops/attention.py", "SMALL = 96 * 96", "SMALL = 97 * 96", {"attention_cost", "recall"}),
    ("transformer_jax/ops/attention.py", "SMALL = 96 * 96", "SMALL = 96 * 96  # why", set()),
    ("transformer_jax/ops/norms.py", "EPSILON = 1e-6", "EPSILON = 1e-5", {"attention_cost", "recall"}),
    ("transformer_jax/train/step.py", "micro_batches == 1", "micro_batches <= 1", {"attention_cost", "recall"}),
    ("transformer_jax/train/loop.py", "MAX_ROLLBACKS = 3", "MAX_ROLLBACKS = 4", {"recall"}),
    ("transformer_jax/train/generate.py", "max_len // 2", "max_len // 3", set()),
    ("transformer_jax/measure/timing.py", "BATCHES = 3", "BATCHES = 5", {"attention_cost"}),
    ("transformer_jax/tasks/associative_recall.py", "-0.99", "-0.98", {"recall"}),
    ("transformer_jax/tasks/copy_memory.py", "2 * n", "3 * n", set()),
    ("transformer_jax/tasks/imdb.py", "OPENING = 20", "OPENING = 21", set()),
    ("transformer_jax/tasks/registry.py", "TASKS", "ALL_TASKS", set()),
    ("transformer_jax/report/page.py", "write_whole", "written", set()),
    ("transformer_jax/lab/display.py", "import", "import os, ", set()),
    ("transformer_jax/lab/trial_display.py", "import", "import os, ", set()),
    ("transformer_jax/lab/trial_page.py", "import", "import os, ", set()),
    ("experiments/recall/report.py", "SEEDS, SHARE = (2, 4, 8)", "SEEDS, SHARE = (2, 4)", set()),
    ("experiments/recall/cells.py", "[2, 4, 8]", "[2, 4, 8, 16]", set()),  # a cell's values are in its own key
    ("experiments/recall/cells.py", "[10_000]", "[20_000]", set()),  # of a private name that the studies alone use
    ("experiments/recall/cells.py", "RATES = (3e-4", "RATES = (1e-4", {"recall"}),
    ("experiments/recall/cells.py", "time_limit = 600.0", "time_limit = 700.0", set()),
    ("experiments/recall/cells.py", 'SWEEPS = ("model.mixer", ', 'TASKS, SWEEPS = None, ("model.norm", ', set()),
    ("transformer_jax/lab/schedule.py", "SECONDS_OF_A_STEP = 0.5", "SECONDS_OF_A_STEP = 0.6", set()),
    ("transformer_jax/measure/predict.py", "FLOPS_PER_SECOND = ", "FLOPS_PER_SECOND = 2 * ", set()),
    ("transformer_jax/lab/timed.py", "job.round, group", "job.seed, group", {"attention_cost"}),
    (
        "experiments/attention_cost/cells.py",
        "prepare, cell = timed.steps(work, group)",
        "prepare, cell = timed.steps(work)",
        {"attention_cost"},
    ),
    ("experiments/attention_cost/cells.py", "BUDGET = 6", "BUDGET = 9", set()),
    ("experiments/recall/cells.py", "task, job.folder)", "task, job.folder.parent)", {"recall"}),
    ("transformer_jax/lab/equal_seconds.py", "FILE, TURNS", "TURNS, FILE", {"recall"}),
]


@pytest.mark.parametrize(("file", "old", "changed", "stale"), EDITS, ids=range(len(EDITS)))
def test_an_edit_of_the_real_code_makes_the_rows_stale_that_it_could_change(real, file, old, changed, stale):
    def versions():
        return {name: version(real, name) for name in ("attention_cost", "recall")}

    path, before = real / file, versions()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, changed))
    try:
        after = versions()
    finally:
        path.write_text(text)
    assert {name for name in before if before[name] != after[name]} == stale
