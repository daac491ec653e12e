"""What a report or a help text loads: jax alone takes seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets"}
CODE = """if True:
    import sys, run
    try:
        print("exit code", run.main(sys.argv[1:]))
    except SystemExit as end:
        print("exit code", end.code)
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*words) -> set[str]:
    """The packages that a command has loaded when it ends, the experiment attention_cost among what it read."""
    ran = subprocess.run([sys.executable, "-c", CODE, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    *_, code, modules = ran.stdout.splitlines()
    assert code == "exit code 0", ran.stderr
    assert "experiment_attention_cost" in modules
    return set(modules.split())


@pytest.fixture
def folder(tmp_path, planted):
    lengths = (64, 128, 256, 512, 1024)
    sweep = [{"task.seq_len": t, "model.mixer": m} for t in lengths for m in ("attention", "lstm")]
    launch = {"code": "0", "accept_stale": False, "versions": {}}
    lines = [planted.header | launch, *planted.rows(sweep)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_report_loads_nothing_that_measures(folder):
    names = loaded("report", folder)
    assert "matplotlib" in names and not names & HEAVY
    assert (folder / "report.html").stat().st_size > 10_000


def test_the_help_of_an_experiment_loads_nothing_that_measures_or_draws():
    assert not loaded("experiment", "attention_cost", "--help") & (HEAVY | {"matplotlib", "scipy"})
