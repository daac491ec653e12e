"""The command line: what it does, and how mistakes end."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import configs
from transformer_jax.cli.main import main, split
from transformer_jax.config import MIXERS
from transformer_jax.host.accelerator import Device
from transformer_jax.lab import launch, plan, rows
from transformer_jax.ops.attention import ATTENTION
from transformer_jax.tasks import originals
from transformer_jax.tasks.registry import TASKS
from transformer_jax.tasks.shakespeare import SET

ROOT = Path(__file__).parents[2]

SOURCE = '''"""Tiny."""
from dataclasses import dataclass
from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab.sweep import grid

USES_JAX = False

@dataclass(frozen=True)
class Axes(MeasureConfig):
    level: str = "op"
    """What is measured."""

@dataclass(frozen=True)
class TinyConfig(Config):
    measure: Axes = Axes()

BASE = TinyConfig(measure=Axes(rounds=2))
STUDIES = {"tokens": grid({"model.num_heads": [1, 2], "task.seq_len": [16, 32]})}

def predict(config):
    return {"flops": 2.5e9 * config.task.seq_len, "seconds": 0.5}

def cell(config, job):
    if config.model.d_model == 96:
        raise ValueError("ninety-six")
    return {"tokens": config.task.seq_len * config.task.batch_size}
'''
REPORT = '''"""Tiny."""
from transformer_jax.report import Report, Table

def report(rows):
    table = Table("Tokens", ("tokens",), tuple((row.get("tokens"),) for row in rows))
    return Report("How many tokens?", tables=(table,), limits=("It counts tokens.",))
'''


@pytest.fixture(autouse=True)
def experiments(tmp_path, monkeypatch):
    folder = tmp_path / "experiments"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "cells.py").write_text(SOURCE)
    (folder / "tiny" / "report.py").write_text(REPORT)
    monkeypatch.setattr(plan, "FOLDER", folder)
    monkeypatch.setattr("transformer_jax.host.cores.count", lambda: 8)
    monkeypatch.chdir(tmp_path)
    return folder / "tiny"


def command(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as end:  # how the option parser ends
        return end.code


def on_one_line(text: str) -> str:
    """Without the boxes and line breaks of a terminal's width."""
    return " ".join(text.replace("│", " ").replace("|", " ").split())


def test_help_is_quick_and_needs_no_jax():
    code = "import sys, run\ntry: run.main(['--help'])\nfinally: sys.exit('jax' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # seconds of work, which a busy machine does not add to
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
    assert ran.returncode == 0 and "experiment" in ran.stdout


def test_an_experiment_runs_resumes_and_is_drawn_again_from_its_rows(tmp_path, capsys):
    assert command("experiment", "tiny") == 0
    out = tmp_path / "runs" / "tiny"
    assert "4 of 4 cells are whole" in capsys.readouterr().out
    lines = (out / rows.FILE).read_bytes()
    page = (out / "report.html").read_text()
    assert "It counts tokens." in page
    assert command("experiment", "tiny") == 0
    assert (out / rows.FILE).read_bytes() == lines
    (out / "report.html").unlink()
    assert command("report", "runs/tiny") == 0
    assert (out / "report.html").read_text() == page


def test_overrides_are_spelled_one_way_and_pin_a_swept_axis(tmp_path):
    options = "--model.num_heads 8 --model.d-model=64 --only seq_len=32 --out small --measure.rounds 1".split()
    assert command("experiment", *options, "--measure.level", "block", "tiny") == 0
    header, row = map(json.loads, (tmp_path / "small" / rows.FILE).read_text().splitlines())
    assert header["base"]["model.d_model"] == 64 and header["base"]["measure.rounds"] == 1
    assert header["base"]["measure.level"] == "block" and header["studies"] == {
        "tokens": [{"model.num_heads": 8, "task.seq_len": 32}]
    }
    assert (row["model.num_heads"], row["task.seq_len"], row["tokens"]) == (8, 32, 128)


def test_the_default_value_given_by_hand_pins_too(tmp_path):
    assert command("experiment", "tiny", "--task.seq_len=16", "--out", "o", "--limit", "1") == 0
    assert {r["task.seq_len"] for r in rows.read(tmp_path / "o").rows} == {16}


def test_a_dry_run_shows_the_cells_and_touches_nothing(tmp_path, capsys):
    assert command("experiment", "tiny", "--dry-run", "--only", "num_heads=2") == 0
    shown = capsys.readouterr().out
    assert "flops" in shown and "8e+10" in shown and "2 cells;" in shown
    # four samples of half a second, which is longer than a sample has to be, and two seconds to compile each cell
    assert "4 measurements: about 6 s, about 4 s of compiling among them" in shown
    assert command("experiment", "tiny", "--dry-run", "--budget", "90s") == 0
    assert "ends with its clock (--budget 90s): about 8 s of compiling, then about" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


FULL = SOURCE + 'FULL = {"tokens": grid({"model.num_heads": [1, 2, 4], "task.seq_len": [32, 64, 128]})}\n'


def test_the_full_size_runs_resumes_and_is_drawn_in_a_folder_of_its_own(tmp_path, experiments, capsys):
    (experiments / "cells.py").write_text(FULL + 'TAKES = {"full": "2 days on an abacus"}\n')
    assert command("experiment", "tiny", "--size", "full", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "9 cells; runs/tiny_full holds 0" in shown and "all of the full size took 2 days on an abacus" in shown
    assert command("experiment", "tiny", "--size", "full", "--only", "num_heads=4") == 0
    assert command("experiment", "tiny", "--size", "full") == command("experiment", "tiny") == 0
    assert "9 of 9 cells are whole" in capsys.readouterr().out
    found = rows.read(tmp_path / "runs" / "tiny_full")
    assert len(found.rows) == 18 and {header["size"] for header in found.headers} == {"full"}
    assert {row["studies"] for row in found.rows} == {("tokens",)}
    assert launch.longer(found.headers[-1], Path("a")).startswith("run.py experiment tiny --size full --measure.rounds")
    assert len(rows.read(tmp_path / "runs" / "tiny").rows) == 8
    assert command("report", "runs/tiny_full") == 0
    capsys.readouterr()
    assert command("list") == 0 and "has a full size: --size full" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_folder_has_one_size(tmp_path, experiments, capsys, more):
    (experiments / "cells.py").write_text(FULL)
    assert command("experiment", "tiny", "--out", "mine", "--limit", "1") == 0
    before = (tmp_path / "mine" / rows.FILE).read_bytes()
    capsys.readouterr()
    assert command("experiment", "tiny", "--size", "full", "--out", "mine", *more) == 2
    assert capsys.readouterr().err == (
        "error: mine holds the quick size of tiny, and a folder has one: --size quick goes on with it, another --out"
        " takes the full one\n"
    )
    assert (tmp_path / "mine" / rows.FILE).read_bytes() == before


def test_a_failed_cell_makes_exit_code_1_and_is_in_the_report(tmp_path, capsys):
    assert command("experiment", "tiny", "--model.d-model", "96") == 1
    shown = capsys.readouterr()
    line = 1 + SOURCE.partition("raise ValueError")[0].count("\n")
    assert "4 failed" in shown.out and f"failed  ValueError: ninety-six (tiny/cells.py, line {line})" in shown.err
    assert "ninety-six" in (tmp_path / "runs" / "tiny" / "report.html").read_text()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("experiment tiny --model.num-heds 8", "no option --model.num-heds; did you mean --model."),
        ("experiment tiny --model.num-heads many", "--model.num-heads must be a whole number, not many"),
        ("experiment tiny --model.num-heads", "--model.num-heads must be a whole number, not nothing"),
        (
            "experiment tiny --model.mixer rnm",
            "must be one of attention, rnn, gru, lstm, min_gru, not rnm; did you mean rnn?",
        ),
        ("experiment tiny --model.d-model 3", "model.d_model=3 is not divisible by model.num_heads=2"),
        ("experiment tiny --model.num-layers -1", "model.num_layers=-1: must be at least 0"),
        ("experiment tiny --task.seq-len 0", "task.seq_len=0: must be at least 1"),
        ("experiment tiny --only seq_length=16", "did you mean task.seq_len"),
        ("experiment tiny --only seq_len=17", "task.seq_len takes 16, 32"),
        ("experiment tiny --only seq_len=17", "(--sweep seq_len=17 measures other values)"),
        ("experiment tiny --only seq_len", "--only takes axis=value"),
        ("experiment tiny --sweep seq_len", "--sweep takes axis=value"),
        ("experiment tiny --sweep seq_lem=16", "--sweep seq_lem: no such axis; did you mean task.seq_len?"),
        ("experiment tiny --sweep seq_len=16,x", "--sweep seq_len=x: --task.seq-len must be a whole number, not x"),
        ("experiment tiny --sweep num_heads=3", "model.d_model=128 is not divisible by model.num_heads=3"),
        ("experiment tiny --swep seq_len=16", "experiment has no option --swep; did you mean --sweep?"),
        ("experiment tiny --config benhc", "unknown config 'benhc'; did you mean bench"),
        ("experiment tinny", "did you mean tiny"),
        ("experiment", "experiment needs NAME, a folder in experiments/: tiny `python run.py` alone is the main job"),
        ("experiment --dry-run", "experiment needs NAME, a folder in experiments/: tiny"),
        ("experiment -v", "error: experiment has no use for '-v'"),
        ("-v", "error: run.py without a command has no use for '-v'"),
        ("--dry-rnu", "error: run.py without a command has no option --dry-rnu; did you mean --dry-run?"),
        ("experiment ../../x", "unknown experiment '../../x'"),
        ("experiment os.system", "unknown experiment 'os.system'"),
        ("experimint tiny", "no command 'experimint'; did you mean experiment?"),
        ("experiment tiny --train.learning-rate 1", "no option --train.learning-rate; did you mean --train.peak-lr?"),
        ("train digits_vit --train.learning-rate 1", "no option --train.learning-rate; did you mean --train.peak-lr?"),
        ("train digits_vit --hidden-size 8", "train has no option --hidden-size; did you mean --model.d-model?"),
        ("train digits_stream --train.dropout 0.1", "no option --train.dropout; did you mean --model.dropout-rate?"),
        ("train digits_vit --train.momentum 1", "no option --train.momentum; known: --train.num-steps"),
        ("experiment tiny --num-heads 2", "experiment has no option --num-heads; did you mean --model.num-heads?"),
        ("experiment tiny --retry-faild", "experiment has no option --retry-faild; did you mean --retry-failed?"),
        ("experiment tiny --limit many", "error: --limit must be a whole number, not many"),
        ("experiment tiny --limit", "error: --limit needs a value: keep the first so many cells"),
        ("experiment tiny --out --dry-run", "--out needs a value: the folder of the results"),
        ("experiment tiny --dry-run=yes", "--dry-run takes no value, and yes was given"),
        ("experiment tiny --timeout soon", "--timeout must be a number, not soon"),
        ("experiment tiny --train.lr 1", "no option --train.lr; did you mean --train.peak-lr"),
        ("experiment tiny --trian.seed 1", "no option --trian.seed; did you mean --train.seed?"),
        ("experiment tiny --täin.x 1", "no option --täin.x; known sections: model, task, train, measure"),
        ("experiment tiny --", "-- is no option"),
        ("list --x", "error: list has no option --x at all"),
        ("list --train.seed 1", "error: list has no option --train.seed at all"),
        ("train", "error: train needs NAME: a file in configs/, without its ending"),
        ("train configs/digits_gru.py", "unknown config 'configs/digits_gru.py'; did you mean digits_gru"),
        ("train digits_gru --matching parms", "must be one of width, params, flops, not parms; did you mean params?"),
        ("train digits_gru --out experiments/tiny/cells.py", "cells.py is a file: choose another --out"),
        ("generate x", "error: generate needs --prompt: the text that a language model continues, or --text"),
        ("generate x --prompt a --text b", "or --text: the text to translate; one of them"),
        ("generate x --prompt a --beam 5", "--beam has no use with --prompt"),
        ("generate x --text a --seed 1", "--seed has no use with --text"),
        ("generate x --text a --beam 0", "--beam 0: a beam holds at least 1 hypothesis"),
        ("generate x --text a --alignment a.jpg", "--alignment a.jpg: the picture is a PNG"),
        ("generate x --text a --alignment no/a.png", "--alignment no/a.png: there is no folder no"),
        ("generate x --text a", "x holds no run"),
        ("evaluate x --translations no/a.tsv", "--translations no/a.tsv: there is no folder no"),
        ("generate x --prompt a --max-new 0", "--max-new 0: must be from 1 to 1000000"),
        ("generate x --prompt a --max-new 1000001", "--max-new 1000001: must be from 1 to 1000000, as"),
        ("generate x --prompt a --max-new 1000000000000", "--max-new 1000000000000: must be from 1 to 1000000"),
        ("generate x --prompt a --max-new 1.5", "--max-new must be a whole number, not 1.5"),
        ("prepare mnist", "error: prepare needs --from: the folder of the original files"),
        ("prepare", "error: prepare needs NAME: a set: tiny_shakespeare, mnist,"),
        ("prepare mnits --from .", "unknown set 'mnits'; did you mean mnist?"),
        ("prepare paralel --from . --source a", "unknown set 'paralel'; did you mean parallel?"),
        ("prepare mnist --form x", "error: prepare needs --from"),
        ("prepare mnist --from . --sorce x", "prepare has no option --sorce; did you mean --source?"),
        ("prepare mnist --from . --folder x", "prepare has no option --folder"),
        (
            "prepare mnist --from . --name",
            "error: --name needs a value: of your own data: what --task.name will call",
        ),
        (
            "prepare mnist --from . --name x",
            "prepare mnist has no use for --name",
        ),
        ("prepare multi30k --from . --source a --target b", "prepare multi30k has no use for --source and --target: "),
        ("prepare parallel", "error: prepare needs --from: the folder of the original files"),
        (
            "prepare parallel --from . --source a --target b",
            "error: prepare parallel needs --name: sentence pairs, line i",
        ),
        ("prepare parallel --from . --name x", "prepare parallel needs --source and --target: sentence pairs"),
        (
            "prepare parallel --from . --source a --target b --name X",
            "error: --name X: a name is small letters",
        ),
        ("prepare parallel --from . --source a --target b --name digits", "--name digits is taken by a task or a set"),
        ("prepare parallel --from . --source a --target b --name x", ". lacks a, b; it holds experiments"),
        ("report", "error: report needs FOLDER"),
        ("evaluate nowhere", "nowhere holds no run: there is no such folder"),
        ("evaluate experiments/tiny/cells.py", "cells.py holds no run: it is a file"),
        ("compare a b --fail-above x", "--fail-above must be a number, not x"),
        ("日本", "no command '日本'; known: list"),
        ("experiment tiny --budget 30", "--budget 30: a time above 0, like 90s, 6m or 1h; 30 lacks its unit"),
        ("experiment tiny --model.mixer LSTM", "not LSTM; did you mean lstm?"),
        ("evaluate x --csv experiments", "--csv experiments is a folder: name a file in it"),
        ("evaluate x --csv /proc/a.csv", "--csv /proc/a.csv cannot be written: No such file or directory"),
        ("experiment tiny --budget soon", "--budget soon: a time above 0, like 90s, 6m or 1h"),
        ("experiment tiny --budget 0m", "--budget 0m: a time above 0"),
        ("experiment tiny --budget 6m --measure.rounds 3", "both say when the run ends: give one of them"),
        ("report a b", "report has no use for 'b'"),
        ("evaluate x --model.num-heads 2", "evaluate has no option --model.num-heads"),
        ("experiment tiny --train.peak-lr inf", "must be positive and finite"),
        ("experiment tiny --out=", "--out is empty"),
        ("experiment tiny --out experiments", "experiments holds something else (tiny): choose another --out"),
        ("experiment tiny --timeout 0", "--timeout 0.0: must be above 0 seconds"),
        ("experiment tiny --workers 0", "--workers 0: must be at least 1"),
        ("experiment tiny --workers -3", "--workers -3: must be at least 1"),
        ("experiment tiny --workers many", "--workers must be a whole number, not many"),
        ("experiment tiny --workers 2", "--workers 2: tiny runs with one worker, as its cells measure time or memory"),
        ("experiment tiny --workers 100000", "--workers 100000: must be at most 8, the cores that are there for them"),
        ("claims --workers 0", "--workers 0: must be at least 1"),
        ("claims --workers 9", "--workers 9: must be at most 8, the cores"),
        ("claims --workers 100000 --dry-run", "--workers 100000: must be at most 8, the cores"),
        ("experiment tiny --size fulll", "--size must be one of quick, full, not fulll; did you mean full?"),
        ("claims --size Quick", "--size must be one of quick, full, not Quick; did you mean quick?"),
        ("experiment tiny --size", "--size needs a value: which studies are measured"),
        ("experiment tiny --size full", "--size full: tiny has one size; no experiment has a full one"),
        ("experiment tiny --timeout nan", "--timeout nan: must be above 0 seconds"),
        (
            "train digits_vit --train.num-steps 20",
            "error: train.num_steps=20 is no longer than the warm-up of digits_vit, 50 steps:"
            " add --train.warmup-steps 2, or take --train.num-steps 51 or more",
        ),
        ("train digits_vit --train.num-steps 20 --task.name mnits", "'mnits'; did you mean mnist?"),
        ("train digits_vit --train.num-steps 20 --task.name mnits", "and: train.num_steps=20 is no longer than"),
        (
            "train digits_vit --train.num-steps 20 --model.num-heads 3",
            "error: model.d_model=64 is not divisible by model.num_heads=3: ",
        ),
        (
            "train digits_vit --train.num-steps 20 --train.warmup-steps 30",
            "error: train.warmup_steps=30: must be",
        ),
        ("train digits_vit --train.num-steps 99999999999", "train.num_steps=99999999999: must be at most 2147483647"),
        ("train digits_vit --model.d-model 1000000", "parameters train in at least"),
        ("report nowhere", "there is no folder nowhere"),
        ("experiment tiny --out experiments/tiny/cells.py/x", "experiments/tiny/cells.py is a file: choose another"),
        ("train digits_vit --out experiments/tiny/cells.py/x", "experiments/tiny/cells.py is a file: choose another"),
        ("train digits_stream --out experiments/tiny/cells.py/x", "experiments/tiny/cells.py is a file: choose"),
        ("claims --out experiments/tiny/cells.py/x/y", "experiments/tiny/cells.py is a file: choose another --out"),
        ("plot positions --out experiments/tiny/cells.py/x", "x/positions.png: experiments/tiny/cells.py is a file"),
        ("report experiments/tiny/cells.py/x", "error: experiments/tiny/cells.py is a file, not a folder"),
        ("compare experiments experiments/tiny/cells.py/x", "error: experiments/tiny/cells.py is a file, not a folder"),
        ("evaluate x --csv experiments/tiny/cells.py/x", "x: experiments/tiny/cells.py is a file, not a folder"),
    ],
)
def test_mistakes_end_with_code_2_one_message_and_nothing_written(tmp_path, capsys, line, message):
    """F16, F17."""
    assert command(*line.split()) == 2
    captured = capsys.readouterr()
    assert message in on_one_line(captured.err)
    assert "Traceback" not in captured.err and captured.out == "" and "╭" not in captured.err
    assert not (tmp_path / "runs").exists()


BROKEN = {
    "def f(:": "configs/mine.py, line 2: invalid syntax",
    "import no_such_module": "configs/mine.py, line 2: ModuleNotFoundError: No module named 'no_such_module'",
    "raise SystemExit(3)": "configs/mine.py, line 2: SystemExit: 3",
    "x = 1": "configs/mine.py has no CONFIG: it must name one, a Config of transformer_jax.config",
    "CONFIG = {}": "configs/mine.py: CONFIG must be a Config of transformer_jax.config, not of type dict",
    "from transformer_jax.config import *\nCONFIG = Config(task=TaskConfig(seq_len=0))": (
        "configs/mine.py, line 3: task.seq_len=0: must be at least 1"
    ),
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_config_that_cannot_be_loaded_is_one_message_with_its_line(tmp_path, monkeypatch, capsys, text):
    monkeypatch.setattr(configs, "__path__", [*configs.__path__, str(tmp_path)])
    (tmp_path / "mine.py").write_text(f'"""Mine."""\n{text}\n')
    for words in (["train", "mine"], ["train", "mine", "--help"], ["experiment", "tiny", "--config", "mine"]):
        monkeypatch.delitem(sys.modules, "configs.mine", raising=False)
        assert command(*words) == 2
        captured = capsys.readouterr()
        assert captured.err == f"error: {BROKEN[text]}\n" and captured.out == ""
    monkeypatch.delitem(sys.modules, "configs.mine", raising=False)
    assert command("list") == 0
    shown = capsys.readouterr().out
    assert BROKEN[text] in shown and "task digits; fits" in shown  # the others are there
    monkeypatch.delitem(sys.modules, "configs.mine", raising=False)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("place", ["input.txt", "/proc", "/proc/nowhere", "/dev/full"])
def test_where_a_set_goes_that_cannot_take_it(tmp_path, monkeypatch, capsys, place):
    monkeypatch.setitem(originals.ORIGINALS, SET, originals.ORIGINALS[SET]._replace(published={}))
    (tmp_path / "input.txt").write_text("a text of some length " * 50)
    assert command("prepare", SET, "--from", ".", "--data-dir", place) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {place} cannot take the set: ") and len(shown.err.splitlines()) == 1
    assert shown.err.endswith("; choose another --data-dir\n") and shown.out == ""


def test_sentence_pairs_are_prepared_and_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    for side in ("train.en", "train.fr"):
        (tmp_path / side).write_text("".join(f"{side} {n}\n" for n in range(40)))
    line = ["prepare", "parallel", "--from", ".", "--source", "train.en", "--target=train.fr", "--name", "mine"]
    for _ in range(2):
        assert command(*line) == 0
        held = "2 (held out by a hash of the source sentence)"
        found = capsys.readouterr()
        assert found.out == (
            f"{tmp_path / 'data/mine/1.0.0'}\ntrain 36, validation {held}, test {held}\n"
            "to train on it: python run.py train multi30k_en_fr --task.name mine\n"
        )
        assert found.err == "fewer than 100 examples: train, validation, test; metrics of so few say little\n"
    for side in ("test.en", "test.fr"):
        (tmp_path / side).write_text("one\ntwo\nthree\n")
    assert command(*line) == 2  # there is a test split now
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'data/mine/1.0.0'} was made from other sources; remove it to prepare it anew\n"
    )
    assert command(*line[:-1], "other") == 0
    assert f"train 38, validation {held}, test 3\n" in capsys.readouterr().out
    assert command("list") == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    at = shown.index("data of your own (--task.name)")
    assert shown[at + 1 : at + 3] == ["mine parallel: train.en, train.fr", "other parallel: train.en, train.fr"]


def test_a_prompt_may_end_like_an_empty_option(capsys):
    assert command("generate", "nowhere", "--prompt", "1 + 1 =") == 2
    assert "nowhere holds no run" in capsys.readouterr().err


def test_no_command_is_the_main_job(capsys):
    assert command("--dry-run") == 2  # the test's folder does not have it
    assert "unknown experiment 'attention_cost'" in capsys.readouterr().err


def test_list_has_a_line_for_each_thing_there_is(experiments, capsys):
    (experiments / "cells.py").write_text('"""How many?\n\nMore."""\nimport jax; raise SystemExit  # it is not run')
    assert command("list") == 0
    shown = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[:2] == ["experiments (run.py experiment NAME)", "tiny How many?"]
    for line in (
        "attention Every step looks",
        "lstm Long short-term",
        "reference The formula",
        "copy_memory Copy memory",
    ):
        assert [found for found in lines if found.startswith(line)], line
    assert "task imdb; fits shapes_1d, sst2" in lines
    assert re.search(r"task digits; fits \d+ others", shown)
    names = [*MIXERS, *ATTENTION, *TASKS, *configs.names()]
    assert not [name for name in names if name in lines]  # a name alone, without a line of its own


@pytest.mark.parametrize("unbuffered", ["", "1"])  # found out at the first line, or at the end
@pytest.mark.parametrize(
    "line", ["list", "--help", "experiment attention_cost --dry-run --limit 3", "train digits_vit --help"]
)
def test_head_may_read_less_than_there_is(line, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, ROOT / "run.py", *line.split()]
    ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_loses_no_answer_in_silence(unbuffered):
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        command = [sys.executable, ROOT / "run.py", "list"]
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert ran.returncode == 1 and ran.stderr.startswith("error: ") and ran.stderr.count("\n") == 1


@pytest.mark.parametrize(("line", "code"), [("--help", 0), ("list", 0), ("lst", 2)])
def test_started_without_any_output_the_code_is_the_same(line, code):
    """As cron jobs and daemons may be: Python then has neither stdout nor stderr."""
    command = f"exec {sys.executable} {ROOT / 'run.py'} {line} >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], timeout=60).returncode == code


def test_help_on_an_experiment_shows_its_own_defaults(capsys):
    assert command("experiment", "tiny", "--help") == 0
    shown = on_one_line(capsys.readouterr().out)
    assert "--dry-run" in shown and "--measure.rounds (default: 2): a whole number. How often each cell" in shown
    assert "--measure.level (default: op): a text. What is measured." in shown
    assert command("experiment", "--help") == 2  # the test's folder does not have the main job


def test_help_on_a_training_shows_its_configs_values(capsys):
    assert command("train", "digits_vit", "-h") == 0
    shown = on_one_line(capsys.readouterr().out)
    assert "--matching" in shown and "--task.name (default: digits): a text." in shown
    assert command("train", "--help") == 0
    assert "--model.norm (default: pre): one of pre, post, none." in on_one_line(capsys.readouterr().out)
    assert command("train", "digits_vitt", "--help") == 2
    assert "did you mean digits_vit or digits_stream or digits_gru?" in capsys.readouterr().err


def test_options_of_the_config_are_parted_from_the_commands_own():
    line = "experiment --model.num-heads 8 tiny --train.lane-lrs 0.1 0.2 --only a=1 b=2 --task.seq_len=3 --limit 4"
    others, overrides = split(line.split())
    assert others == "experiment tiny --only a=1 b=2 --limit 4".split()
    assert overrides == {"model.num_heads": ["8"], "train.lane_lrs": ["0.1", "0.2"], "task.seq_len": ["3"]}
    assert split(["--model.x", "-1", "--model.y", "--only"]) == (["--only"], {"model.x": ["-1"], "model.y": []})
    for option in ("--prompt", "--text"):
        words = ["generate", option, "-- 3.5 = x", option, "--", option, ""]
        assert split(words) == (words, {})


def test_of_an_option_given_twice_the_last_counts(tmp_path):
    options = "--limit 3 --model.d-model 96 --only seq_len=32 --only seq_len=16 --model.d_model=64 --limit 1".split()
    assert command("experiment", "tiny", *options) == 0
    assert {(r["model.d_model"], r["task.seq_len"]) for r in rows.read(tmp_path / "runs" / "tiny").rows} == {(64, 16)}


@pytest.mark.parametrize("fault", ["rows[0]['no_such_column']", "raise ValueError('no_such_column')"])
def test_a_report_that_fails_costs_no_row_and_can_be_drawn_once_mended(tmp_path, experiments, capsys, fault):
    broken = REPORT.replace("    table =", f"    {fault}\n    table =")
    (experiments / "report.py").write_text(broken)
    assert command("experiment", "tiny") == 1
    text = capsys.readouterr().err
    line = 1 + broken.partition("    table =")[0].count("\n") - 1
    assert f"tiny/report.py, line {line}: " in text and "no_such_column" in text and "Traceback" not in text
    assert "run.py report runs/tiny draws the report" in text
    assert len(rows.read(tmp_path / "runs" / "tiny").rows) == 8
    assert command("report", "runs/tiny") == 1
    (experiments / "report.py").write_text(REPORT)
    assert command("report", "runs/tiny") == 0


def test_rows_from_before_studies_had_names_are_drawn_with_those_of_today(tmp_path, experiments):
    assert command("experiment", "tiny") == 0
    file = tmp_path / "runs" / "tiny" / rows.FILE
    header, *lines = file.read_text().splitlines()
    old = {k: v for k, v in json.loads(header).items() if k not in ("studies", "rules", "data")}
    file.write_text("\n".join([json.dumps(old), *lines, ""]))
    draws = REPORT + "    assert {row['studies'] for row in rows} == {('tokens',)}"
    (experiments / "report.py").write_text(
        draws.replace("    table", "    assert rows[7]['studies'] == ('tokens',)\n    table", 1)
    )
    assert command("report", "runs/tiny") == 0


def test_a_disk_that_fills_up_is_one_message(tmp_path, capsys, monkeypatch):
    """F14: exit code 1, the rows so far kept."""
    append, calls = rows.append, []

    def failing(path, entry):
        calls.append(entry)
        if len(calls) > 3:
            raise OSError(28, "No space left on device", str(path))
        append(path, entry)

    monkeypatch.setattr(rows, "append", failing)
    assert command("experiment", "tiny") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert len(rows.read(tmp_path / "runs" / "tiny").rows) == 2


def test_ctrl_c_while_the_report_is_drawn_keeps_the_rows(tmp_path, experiments):
    """F27."""
    interrupt = "    import signal; signal.raise_signal(signal.SIGINT)\n    table ="
    (experiments / "report.py").write_text(REPORT.replace("    table =", interrupt))
    program = (
        "import pathlib\nfrom transformer_jax.cli.main import main\n"
        "from transformer_jax.host import signals\nfrom transformer_jax.lab import plan\n"
        "plan.FOLDER = pathlib.Path('experiments').absolute()\n"
        "signals.end_at_once(); main(['experiment', 'tiny'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 75 and done.stderr.endswith("\nstopped; repeat the command\n"), done.stderr
    assert len(rows.read(tmp_path / "runs" / "tiny").rows) == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_imports_ends_the_process_resumably(tmp_path, number):
    line = [sys.executable, ROOT / "run.py", "experiment", "attention_cost", "--dry-run"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    while not int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) >> (signal.SIGTERM - 1) & 1:
        time.sleep(0.001)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 75 and "Traceback" not in text and "stopped; repeat the command\n" in text


def test_a_missing_extra_is_one_message_before_anything_runs(experiments, capsys):
    source = SOURCE.replace("USES_JAX", 'EXTRA = {"peers": ("json", "no_such_module")}\nUSES_JAX')
    (experiments / "cells.py").write_text(source)
    assert command("experiment", "tiny") == 2
    text = capsys.readouterr().err
    assert "needs no_such_module: pip install -e '.[peers]'" in text and "json" not in text
    assert not Path("runs").exists()
    assert command("experiment", "tiny", "--dry-run") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only",), "--only needs axis=value"),
        (("--sweep",), "--sweep needs axis=value"),
        (("--limit", "-3"), "--limit -3: must be at least 1"),
        (("--limit", "0"), "--limit 0: must be at least 1"),
        (("--limit", "abc"), "--limit must be a whole number, not abc"),
        (("--only", "seq_len=16,"), "--only seq_len=16,: a value is missing beside a comma; write seq_len=16 without"),
        (("--out", "a_file"), "a_file is a file"),
        (("--out", ""), "--out is empty"),
        (("--out", "a_training"), "a_training holds a training run"),
        (("--out", "a_file", "--dry-run"), "a_file is a file"),
        (("--out", "a_file/below", "--dry-run"), "error: a_file is a file: choose another --out"),
        (("--out", "a_training", "--dry-run"), "a_training holds a training run"),
        (("--out", "experiments", "--dry-run"), "experiments holds something else (tiny)"),
    ],
)
def test_a_slip_of_the_hand_runs_nothing(tmp_path, capsys, options, message):
    (tmp_path / "a_file").write_text("")
    (tmp_path / "a_training" / "checkpoints").mkdir(parents=True)
    assert command("experiment", "tiny", *options) == 2
    assert message in on_one_line(capsys.readouterr().err)
    assert not list(tmp_path.rglob(rows.FILE))


def test_a_report_on_a_file_says_so(tmp_path, capsys):
    (tmp_path / "a_file").write_text("")
    assert command("report", "a_file") == 2
    assert "a_file is a file" in capsys.readouterr().err


def test_a_sweep_of_ones_own_values_is_one_run_in_a_folder_that_others_may_join(tmp_path, capsys):
    assert command("experiment", "tiny", "--only", "seq_len=16") == 0
    line = ["experiment", "tiny", "--sweep", "seq_len=16,48", "num_heads=1", "d_model=64,128"]
    assert command(*line, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "4 cells; runs/tiny holds 1 of them" in shown and "6 measurements: " in shown
    assert command(*line) == 0
    found = rows.read(tmp_path / "runs" / "tiny").rows
    assert {(r["model.d_model"], r["task.seq_len"]) for r in found} == {
        (128, 16), (64, 16), (64, 48), (128, 48),
    }  # fmt: skip
    assert all(row["studies"] == ("tokens",) for row in found)
    assert len(found) == 2 * 2 + 3 * 2  # one of the four was there


OPEN = """from transformer_jax.report.findings import Finding, Report

def report(rows):
    return Report("Which?", [Finding("Which?", "One.", word="undecided")])
"""


@pytest.mark.parametrize(
    ("options", "longer"),
    [
        ("", "tiny --measure.rounds 8"),
        ("--sweep seq_len=8,16 --only num_heads=1,2 --limit 3", None),
        ("--config bench --model.d-model=64", "tiny --config bench --model.d-model 64 --measure.rounds 8"),
        ("--measure.rounds 3 --model.d_model 64", "tiny --measure.rounds 12 --model.d-model 64"),
        ("--budget 1s", "tiny --budget 20m"),
    ],
)
def test_the_command_that_would_decide_repeats_the_runs_own_options(tmp_path, experiments, options, longer):
    (experiments / "report.py").write_text(OPEN)
    assert command("experiment", "tiny", *options.split(), "--out", "mine") == 0
    page = (tmp_path / "mine" / "report.html").read_text()
    shown = re.sub('<span class="word">(.*?)</span>', r"\1", page)
    assert f"run.py experiment {longer or f'tiny {options} --measure.rounds 8'} --out runs/mine_longer" in shown
    assert command("report", "mine") == 0
    assert (tmp_path / "mine" / "report.html").read_text() == page


def test_a_run_that_was_stopped_before_its_clock_ended_it_is_to_go_on_and_not_begun_anew(tmp_path, experiments):
    (experiments / "report.py").write_text(OPEN)
    line = ["experiment", "tiny", "--budget", "1s", "--out", "mine"]
    assert command(*line) == 0
    page, file = tmp_path / "mine" / "report.html", tmp_path / "mine" / rows.FILE
    assert "A longer run" in page.read_text() and "was stopped" not in page.read_text()
    *before, ended = file.read_text().splitlines(keepends=True)
    assert "ended" in json.loads(ended)
    file.write_text("".join(before))
    assert command("report", "mine") == 0
    assert "repeat the command to go on" in page.read_text() and "A longer run" not in page.read_text()
    assert command(*line) == 0
    assert "A longer run" in page.read_text() and "was stopped" not in page.read_text()


def test_after_a_run_of_its_own_budget_a_longer_one_is_named():
    header = {"experiment": "tiny", "ended": {"budget_seconds": 1800.0}}
    assert launch.longer(header, Path("a")) == "run.py experiment tiny --budget 90m --out runs/a_longer"


def test_a_half_finished_folder_says_how_many_of_its_planned_cells_are_missing(tmp_path):
    assert command("experiment", "tiny") == 0
    page, file = tmp_path / "runs" / "tiny" / "report.html", tmp_path / "runs" / "tiny" / rows.FILE
    assert "that were planned" not in page.read_text()
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:4]))  # the header and three rows of round 0
    assert command("report", "runs/tiny") == 0
    assert "1 of the plan&#39;s 4 cells have no row yet" in page.read_text()


def test_without_the_device_that_was_asked_for_a_run_is_one_error_and_leaves_no_folder(
    tmp_path, experiments, monkeypatch, capsys
):
    (experiments / "cells.py").write_text(SOURCE.replace("USES_JAX = False", ""))
    monkeypatch.setenv("JAX_PLATFORMS", "rocm")
    (tmp_path / "there").mkdir()
    for more in (["--out", "new/below"], ["--out", "there/below"], ["--dry-run"]):
        assert command("experiment", "tiny", *more) == 2
        text = capsys.readouterr().err
        assert text.startswith("error: JAX_PLATFORMS=rocm: JAX finds no such device") and text.count("\n") == 1
    assert not (tmp_path / "new").exists() and not list((tmp_path / "there").iterdir())


def test_a_dry_run_shows_what_is_there_what_failed_and_what_cannot_run(tmp_path, experiments, capsys):
    predict = '    return {"flops": 1.0, "bytes": 1e15 if config.task.seq_len == 32 else 1, "seconds": 0.5}\n'
    source = re.sub(r"    return \{\"flops\".*\n", predict, SOURCE)
    (experiments / "cells.py").write_text(source.replace("model.d_model == 96", "model.num_heads == 2"))
    assert command("experiment", "tiny", "--only", "seq_len=16") == 1
    before = (tmp_path / "runs" / "tiny" / rows.FILE).read_bytes()
    capsys.readouterr()
    assert command("experiment", "tiny", "--dry-run", "--measure.rounds", "3") == 0
    shown = capsys.readouterr().out
    assert "will not fit: 9.31e+05 of " in shown and "2 rounds there" in shown and "failed" in shown
    assert "1 measurements: about" in shown and "2 cannot run on this cpu" in shown
    assert "1 did not end well there" in shown and "4 cells; runs/tiny holds 1 of them" in shown
    assert (tmp_path / "runs" / "tiny" / rows.FILE).read_bytes() == before


def test_a_dry_run_of_what_the_clock_has_ended_finds_nothing_left(tmp_path, capsys):
    line = ["experiment", "tiny", "--only", "seq_len=16"]
    assert command(*line, "--budget", "2s") == 0
    before = (tmp_path / "runs" / "tiny" / rows.FILE).read_bytes()
    capsys.readouterr()
    assert command(*line, "--budget", "2s", "--dry-run") == 0
    assert "nothing is left to measure" in capsys.readouterr().out
    assert command(*line, "--budget", "2s") == 0 and (tmp_path / "runs" / "tiny" / rows.FILE).read_bytes() == before
    capsys.readouterr()
    assert command(*line, "--budget", "62s", "--dry-run") == 0
    assert "the run ends with its clock (--budget 1m)" in capsys.readouterr().out  # the difference


def test_a_dry_run_finds_what_a_run_would_find_of_its_data(tmp_path, experiments, capsys):
    data = """def data(config):
    from transformer_jax.tasks.sets import MissingData
    if config.task.seq_len == 32:
        raise MissingData("nobody prepared them")
    return {"a.txt": "12ab"}

"""
    (experiments / "cells.py").write_text(SOURCE.replace("def predict", f"{data}def predict"))
    for more in ([], ["--dry-run"]):
        assert command("experiment", "tiny", *more) == 2
        assert capsys.readouterr() == ("", "error: nobody prepared them\n")
    line = ["experiment", "tiny", "--only", "seq_len=16"]
    assert command(*line) == 0
    (experiments / "cells.py").write_text((experiments / "cells.py").read_text().replace("12ab", "34cd"))
    capsys.readouterr()
    assert command(*line, "--dry-run", "--accept-stale") == 0
    assert "holds 0 of them" in capsys.readouterr().out  # they were measured on other data


def test_a_dry_run_says_that_a_folder_cannot_be_joined(tmp_path, capsys):
    assert command("experiment", "tiny", "--limit", "1") == 0
    assert command("experiment", "tiny", "--dry-run", "--model.d-model", "64") == 2
    assert "holds cells with model.d_model=128" in capsys.readouterr().err


def test_the_base_is_a_config_by_name_and_the_experiments_axes_stay(tmp_path, capsys):
    assert command("experiment", "tiny", "--config", "bench", "--out", "o", "--limit", "1") == 0
    header = rows.read(tmp_path / "o").headers[0]
    assert header["base"]["model.d_model"] == 64 and header["base"]["measure.level"] == "op"
    assert header["base"]["measure.rounds"] == 2
    assert command("experiment", "tiny", "--config", "bench_acelerator") == 2
    assert "did you mean bench_accelerator" in capsys.readouterr().err


def test_cells_that_time_nothing_run_side_by_side_and_not_on_an_accelerator(tmp_path, monkeypatch, experiments, capsys):
    (experiments / "cells.py").write_text(SOURCE + "SIDE_BY_SIDE = True\n")
    for n in ("1", "3"):
        assert command("experiment", "tiny", "--workers", n, "--out", n) == 0
    one, three = ((tmp_path / n / rows.FILE).read_text().splitlines() for n in ("1", "3"))
    assert sorted(one) == sorted(three) and len(one) == 9
    for name in ("rows.csv", "report.html"):
        assert (tmp_path / "1" / name).read_text() == (tmp_path / "3" / name).read_text()
    monkeypatch.setattr("transformer_jax.cli.experiments.first_device", lambda: Device("gpu", 2**36))
    assert command("experiment", "tiny", "--workers", "2") == 2
    assert "every worker would take the gpu, or its memory, from the others" in capsys.readouterr().err


def test_on_an_accelerator_the_larger_base_is_taken_and_named(monkeypatch, experiments, capsys):
    source = SOURCE.replace("BASE = TinyConfig(", "from configs import bench\nBASE = TinyConfig(*SECTIONS, ")
    sections = "SECTIONS = bench.CONFIG.model, bench.CONFIG.task, bench.CONFIG.train\nBASE"
    (experiments / "cells.py").write_text(source.replace("BASE", sections, 1))
    monkeypatch.setattr("transformer_jax.cli.experiments.first_device", lambda: Device("gpu", 2**36))
    assert command("experiment", "tiny", "--dry-run") == 0
    captured = capsys.readouterr()
    assert "the first device is a gpu: --config bench_accelerator" in captured.err
    assert "256" in captured.out  # 32 of 256 steps are 256 of 2048
    assert command("experiment", "tiny", "--dry-run", "--config", "bench") == 0
    assert "bench_accelerator" not in capsys.readouterr().err
