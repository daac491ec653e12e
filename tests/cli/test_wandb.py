"""`train --wandb`: what Weights & Biases is sent, and what becomes of a run where it is missing."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_jax.cli import main
from transformer_jax.config import ConfigError
from transformer_jax.lab import tracking
from transformer_jax.train.log import read_metrics

ROOT = Path(__file__).parents[2]
SMALL = """--train.num-steps 8 --train.warmup-steps 2 --train.eval-every 4 --train.checkpoint-every 4
--train.chunk-steps 2 --model.num-layers 1 --model.d-model 8 --model.mlp-dim 8"""


def words(tmp_path, *more):
    return ["train", "digits_vit", "--out", str(tmp_path / "run"), *SMALL.split(), *more]


def command(tmp_path, *more):
    return main.main(words(tmp_path, *more))


FAKE_WANDB = """
import json, os

class Run:
    def __init__(self, **options):
        self.write("init", options)
    def write(self, what, value):
        with open(os.environ["WANDB_FAKE"], "a") as file:
            file.write(json.dumps([what, value], default=str) + "\\n")
    def define_metric(self, name, step_metric):
        self.write("define_metric", [name, step_metric])
    def log(self, numbers):
        self.write("log", numbers)
    def finish(self):
        self.write("finish", None)

def init(**options):
    return Run(**options)
"""


def test_metrics_go_to_wandb_where_it_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "wandb.py").write_text(FAKE_WANDB)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setenv("WANDB_FAKE", str(tmp_path / "sent"))
    folder = tmp_path / "run"
    assert command(tmp_path) == 0 and "wandb" not in sys.modules and not (tmp_path / "sent").exists()
    shutil.rmtree(folder)
    for _ in range(2):  # the second launch has nothing to do but to go on with the same W&B run
        assert command(tmp_path, "--wandb") == 0
    monkeypatch.delitem(sys.modules, "wandb")
    sent = [json.loads(line) for line in (tmp_path / "sent").read_text().splitlines()]
    inits = [value for what, value in sent if what == "init"]
    assert len(inits) == 2 and inits[0] == inits[1] and inits[0]["resume"] == "allow" and inits[0]["id"]
    assert inits[0]["config"]["train.num_steps"] == 8
    assert [what for what, _ in sent].count("finish") == 2
    logged = [value for what, value in sent if what == "log"]
    rows = read_metrics(folder / "metrics.jsonl")
    names = ("loss", "accuracy", "grad_norm")
    assert logged == [
        {f"{row['split']}/{name}": row[name] for name in names if name in row} | {"step": row["step"]} for row in rows
    ]
    assert command(tmp_path) == 0  # without it again: the same run


def test_wandb_that_is_missing_is_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert command(tmp_path, "--wandb") == 2
    assert "--wandb needs wandb: pip install -e '.[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_called_wandb_is_not_wandb(tmp_path, monkeypatch, capsys):
    """As wandb itself leaves one behind where it ran."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(path for path in sys.path if "site-packages" not in path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert importlib.util.find_spec("wandb").origin is None
    with pytest.raises(ConfigError, match="--wandb needs wandb"):
        tracking.require()


def test_wandb_that_refuses_to_begin_is_one_message(tmp_path, monkeypatch, capsys):
    refusing = """
class errors:
    class Error(Exception):
        pass

def init(**options):
    raise errors.Error("no API key configured")
"""
    (tmp_path / "wandb.py").write_text(refusing)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert command(tmp_path, "--wandb") == 2
    monkeypatch.delitem(sys.modules, "wandb")
    assert capsys.readouterr().err == "error: wandb does not begin: no API key configured\n"


@pytest.mark.slow
def test_wandb_itself_without_a_network(tmp_path):
    pytest.importorskip("wandb")
    folder, environment = tmp_path / "run", os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *words(tmp_path, "--wandb")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    files = list(folder.glob("wandb/offline-run-*/*.wandb"))
    name = (folder / "wandb_id.txt").read_text()
    assert len(files) == 2 and all(file.stem == f"run-{name}" for file in files)
    assert b"validation/loss" in b"".join(file.read_bytes() for file in files)
