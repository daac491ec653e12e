"""A training run in its folder, from Python: what resumes, what is read back, and what is refused."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from transformer_jax.config import (
    Config,
    ConfigError,
    MeasureConfig,
    ModelConfig,
    TaskConfig,
    TrainConfig,
    flatten,
    with_overrides,
)
from transformer_jax.host.folders import FolderError, locked
from transformer_jax.lab import trained, trial
from transformer_jax.tasks import associative_recall, registry
from transformer_jax.train import programs
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.evaluate import evaluate
from transformer_jax.train.log import claim, read_config, read_metrics

CONFIG = Config(
    model=ModelConfig(d_model=8, num_heads=2, num_layers=1, mlp_dim=8, max_len=16, dropout_rate=0.1),
    task=TaskConfig(name="associative_recall", vocab_size=16, num_items=2, seq_len=8, batch_size=4),
    train=TrainConfig(num_steps=12, chunk_steps=2, eval_every=4, checkpoint_every=4, lanes=2),
)
DIGITS = with_overrides(
    CONFIG, {"task.name": "digits", "task.patch_size": 2, "task.seq_len": 16, "model.causal": False, "train.lanes": 1}
)


def recall(config=CONFIG):
    return associative_recall.build(config)


def target_of(folder):
    config = read_config(folder)
    task = registry.build(config)
    return jax.eval_shape(programs.build(trial.build_model(config, task), task.objective, config.train).init)


def bits(folder):
    checkpoints = Checkpoints(folder / "checkpoints")
    state, meta = checkpoints.restore(checkpoints.find("latest"), target_of(folder))
    leaves = jax.tree.leaves(state.replace(key=jax.random.key_data(state.key)))
    return [np.asarray(leaf).tobytes() for leaf in leaves], meta["data"]


def test_a_run_is_read_back_as_a_curve_and_evaluates_to_its_last_row(tmp_path, capfd):
    outcome = trial.train(CONFIG, recall(), tmp_path / "run")
    assert outcome.status == "done" and outcome.step == 12
    curve = trial.curve(tmp_path / "run", "validation")
    assert [(row["step"], row["lane"]) for row in curve] == [(s, lane) for s in (4, 8, 12) for lane in (0, 1)]
    metrics = {"loss", "accuracy", "accuracy_2_3", "accuracy_4_7"}
    assert set(curve[0]) == {"step", "lane"} | metrics
    assert {row["step"] for row in trial.curve(tmp_path / "run", "train")} == {2, 4, 6, 8, 10, 12}
    step, lanes = trained.evaluate(tmp_path / "run", registry.build, checkpoint="12")
    assert step == 12 and lanes == outcome.metrics == [{k: row[k] for k in metrics} for row in curve[-2:]]
    saved = sum(leaf.size for leaf in jax.tree.leaves(target_of(tmp_path / "run").params))
    assert saved == 2 * trained.describe(tmp_path / "run", registry.build)["parameters"]
    assert capfd.readouterr() == ("", "")


def test_a_curve_shows_what_was_not_finite_and_that_it_ended_the_run(tmp_path):
    """A cell whose row holds such a number is counted as "nan", and does not enter a mean."""
    claim(tmp_path, CONFIG)
    rows = [{"step": 2, "split": "validation", "lane": 0, "loss": None, "accuracy": 0.5}, {"step": 3, "event": "nan"}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, *ends = trial.curve(tmp_path, "validation")
    assert first == {"step": 2, "lane": 0, "loss": pytest.approx(np.nan, nan_ok=True), "accuracy": 0.5}
    assert [(row["step"], row["lane"]) for row in ends] == [(3, 0), (3, 1)]
    assert all(np.isnan(row["loss"]) for row in ends)


CELL = """if True:
    import itertools, json, os, signal, sys
    from pathlib import Path
    from transformer_jax.config import from_flat
    from transformer_jax.lab import trial
    from transformer_jax.tasks import registry
    from transformer_jax.train.checkpoint import Checkpoints
    config, folder, chunks = from_flat(json.loads(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
    asked = itertools.count()
    def killed():
        if next(asked) >= chunks > 0 and Checkpoints(folder / "checkpoints").steps():
            os.kill(os.getpid(), signal.SIGKILL)
        return False
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    outcome = trial.train(config, registry.build(config), folder, stopping=killed)
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    assert outcome.status == "done"
"""


TRANSLATION = {
    "task.name": "reversal",
    "task.bucket_lengths": (5,),
    "task.batch_tokens": 40,
    "train.schedule": "inverse_sqrt",
    "train.warmup_steps": 10,
    "train.label_smoothing": 0.1,
    "train.keep_last": 3,
    "train.best": "bleu",
}


@pytest.mark.parametrize("more", [{}, pytest.param(TRANSLATION, marks=pytest.mark.slow)], ids=["one", "two sequences"])
def test_a_cell_that_is_killed_goes_on_bit_for_bit(tmp_path, more):
    """kill -9 in the middle of its training, between two checkpoints: nothing of it hears of that before."""
    steps = {"train.num_steps": 48, "train.eval_every": 8, "train.checkpoint_every": 8}
    config = with_overrides(CONFIG, steps | more)
    words = [sys.executable, "-c", CELL, json.dumps(flatten(config)), str(tmp_path / "killed")]
    done = subprocess.run([*words, "7"], capture_output=True, text=True)  # after step 14
    assert done.returncode == -signal.SIGKILL, done.stderr
    measured = read_metrics(tmp_path / "killed" / "metrics.jsonl")[-1]["step"]
    assert 0 < Checkpoints(tmp_path / "killed" / "checkpoints").steps()[-1] < measured < config.train.num_steps
    done = subprocess.run([*words, "0"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr
    trial.train(config, registry.build(config), tmp_path / "whole")
    assert bits(tmp_path / "killed") == bits(tmp_path / "whole")
    for name in ("metrics.jsonl", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_average_of_the_last_checkpoints_is_evaluated_by_name(tmp_path):
    config = with_overrides(CONFIG, {"train.keep_last": 2, "train.num_steps": 14})
    trial.train(config, recall(config), tmp_path)
    step, lanes = trained.evaluate(tmp_path, registry.build, checkpoint="average")
    assert step == "average of steps 8, 12"  # 14, the end, is not one of every four
    states = [Checkpoints(tmp_path / "checkpoints").restore(at, target_of(tmp_path))[0] for at in (8, 12)]
    mean = jax.tree.map(lambda a, b: np.float32((np.float64(a) + np.float64(b)) / 2), *(s.params for s in states))
    task = recall(config)
    run = programs.build(trial.build_model(config, task), task.objective, config.train)
    assert lanes == evaluate(run, mean, task.evaluate("validation"), task.objective)
    with pytest.raises(ConfigError, match="did you mean average"):
        trained.evaluate(tmp_path, registry.build, checkpoint="avrage")


def test_a_folder_of_another_tokeniser_is_not_evaluated(tmp_path):
    def build(content):
        return lambda config, files=(): associative_recall.build(config)._replace(files={"tokenizer.json": content})

    trial.train(CONFIG, build(b"one")(CONFIG), tmp_path)
    found = trained.evaluate(tmp_path, build(b"one"))
    for removed in (False, True):  # the checkpoint knows it as well
        for read in (trained.evaluate, trained.describe, lambda *given: trained.generate(*given, "a", 1)):
            with pytest.raises(ConfigError, match="trained with another tokenizer.json than its task now makes"):
                read(tmp_path, build(b"other"))
        if not removed:
            (tmp_path / "tokenizer.json").unlink()
    assert trained.evaluate(tmp_path, build(b"one")) == found


def test_stopped_and_gone_on_with(tmp_path):
    asked = itertools.count()
    outcome = trial.train(CONFIG, recall(), tmp_path / "run", stopping=lambda: next(asked) >= 3)
    assert (outcome.status, outcome.step) == ("stopped", 6)
    assert trial.train(CONFIG, recall(), tmp_path / "run").status == "done"
    trial.train(CONFIG, recall(), tmp_path / "whole")
    assert bits(tmp_path / "run") == bits(tmp_path / "whole")


@pytest.mark.parametrize(
    "overrides",
    [{}, {"model.mixer": "gru", "model.recurrent_dim": 5}, {"model.num_kv_heads": 1, "model.position": "learned"}],
)
@pytest.mark.parametrize("start", [CONFIG, DIGITS], ids=["recall", "digits"])
def test_a_config_that_is_written_and_read_builds_the_same_model(tmp_path, start, overrides):
    """The same tree of parameters, the same values, the same outputs."""
    config = with_overrides(start, overrides)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(flatten(config)))
    again = read_config(tmp_path)
    assert again == config
    trees, outputs = [], []
    for each in (config, again):
        task = registry.build(each)
        trial._built.cache_clear()  # else both are the same object
        model = trial.build_model(each, task)
        params = jax.jit(model.init)(jax.random.key(3))
        batch = next(iter(task.evaluate("validation")))
        trees.append(params)
        outputs.append(np.asarray(jax.jit(model.apply)(params, batch["inputs"])))
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    assert jax.tree.all(jax.tree.map(np.array_equal, *trees)) and np.array_equal(*outputs)


def test_what_trains_a_cell_knows_no_other_task_and_no_display():
    """What it imports is the code version of training experiments: a word on a page must not make them stale."""
    code = (
        "import sys; from transformer_jax.lab import trial; print(*(n for n in sys.modules if 'transformer_jax' in n))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("transformer_jax.") for name in done.stdout.split()}
    tasks = {name for name in loaded if name.startswith("tasks.")}
    assert tasks == {"tasks.task", "tasks.place"}, tasks
    assert not {
        name for name in loaded if name.startswith(("report", "cli", "peers", "measure")) or name == "host.signals"
    }
    assert {name for name in loaded if name.startswith("lab.")} == {"lab.trial"}


def test_a_folder_in_use_is_refused_before_anything_is_sent(tmp_path):
    @contextlib.contextmanager
    def send():
        raise AssertionError("the folder is not this run's yet")
        yield

    with locked(tmp_path / "run"), pytest.raises(FolderError, match="in use by process"):
        trial.train(CONFIG, recall(), tmp_path / "run", send=send())
    assert os.listdir(tmp_path / "run") == [".lock"]


def test_numbers_are_sent_while_the_folder_is_this_runs(tmp_path):
    heard = []

    @contextlib.contextmanager
    def send():
        with pytest.raises(FolderError), locked(tmp_path):
            pass
        yield lambda values, step: heard.append((step, *values))
        heard.append("end")

    trial.train(CONFIG, recall(), tmp_path, send=send())
    assert heard[0][0] == 2 and {"train/loss/lane_0", "train/loss/lane_1"} <= set(heard[0])
    assert heard[-1] == "end" and heard[-2][0] == 12


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.causal": False, "task.name": "random_tokens"}, "random_tokens asks every step for what comes next"),
        ({"task.name": "digits"}, "set task.patch_size"),
        ({"task.name": "digits", "task.patch_size": 1}, "model.max_len=16"),
        (
            {"model.d_model": 2**17, "model.mlp_dim": 2**17, "train.lanes": 1},
            "[0-9] parameters train in at least .*: make model.d_model, model.num_layers or task.vocab_size smaller",
        ),
        (
            {"train.lanes": 2**24, "task.name": "digits", "task.patch_size": 2},
            "of 16777216 lanes train in .*: make train.lanes, model.d_model or model.num_layers smaller$",
        ),
    ],
)
def test_a_model_that_does_not_fit_its_task(tmp_path, overrides, message):
    config = with_overrides(CONFIG, overrides)
    with pytest.raises(ConfigError, match=message):
        trial.train(config, registry.build(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("overrides", [{"task.name": "digits", "task.patch_size": 2}, {"model.mixer": "lstm"}])
def test_what_sees_no_answer_may_be_not_causal(overrides):
    """One answer for a whole image; a recurrence, which reads from left to right in any case."""
    config = with_overrides(CONFIG, {"model.causal": False} | overrides)
    trial.build_model(config, registry.build(config))


def test_a_folder_of_an_earlier_version_is_refused_by_all_that_open_it(tmp_path):
    old = flatten(CONFIG) | {"model.vocab_size": 16, "model.num_classes": None, "measure.level": "model"}
    (tmp_path / "config.json").write_text(json.dumps(old))
    (tmp_path / "checkpoints" / "4" / "state").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for attempt in (
        lambda: trial.train(CONFIG, recall(), tmp_path),
        lambda: trained.evaluate(tmp_path, registry.build),
        lambda: trained.describe(tmp_path, registry.build),
        lambda: trained.generate(tmp_path, registry.build, "a", 1),
    ):
        message = "written by an earlier version of this code: train again.*model.vocab_size, model.num_classes"
        with pytest.raises(ConfigError, match=message):
            attempt()
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != ".lock"] == before


def test_an_error_in_the_computation_is_not_called_a_mistake(tmp_path, monkeypatch):
    """ConfigError is for the user's own: a split that is not there, a prompt that cannot be read."""
    trial.train(CONFIG, recall(), tmp_path)
    with pytest.raises(ConfigError, match="no split 'tset'"):
        trained.evaluate(tmp_path, registry.build, "tset")

    def broken(*_):
        raise ValueError("shapes do not fit")

    monkeypatch.setattr(trained, "evaluate_split", broken)
    with pytest.raises(ValueError, match="shapes do not fit") as error:
        trained.evaluate(tmp_path, registry.build)
    assert not isinstance(error.value, ConfigError)


def test_what_is_no_text_model_does_not_write(tmp_path):
    trial.train(CONFIG, recall(), Path(tmp_path))
    with pytest.raises(ConfigError, match="not a language model of text"):
        trained.generate(tmp_path, registry.build, "a", 1)


@dataclasses.dataclass(frozen=True)
class Axes(MeasureConfig):
    level: str = "easy"


@dataclasses.dataclass(frozen=True)
class OwnConfig(Config):
    measure: Axes = dataclasses.field(default_factory=Axes)


def test_a_training_of_an_experiment_with_axes_of_its_own_goes_on(tmp_path):
    config = OwnConfig(CONFIG.model, CONFIG.task, CONFIG.train, Axes(level="hard"))
    asked = iter([False, True])
    assert trial.train(config, recall(config), tmp_path / "run", stopping=lambda: next(asked)).status == "stopped"
    assert trial.train(config, recall(config), tmp_path / "run").status == "done"
    trial.train(CONFIG, recall(), tmp_path / "plain")
    assert trial.curve(tmp_path / "run", "validation") == trial.curve(tmp_path / "plain", "validation")
    assert read_config(tmp_path / "run") == CONFIG
    longer = with_overrides(config, {"train.num_steps": 16})
    assert trial.train(longer, recall(longer), tmp_path / "run").step == 16
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == json.loads(json.dumps(flatten(longer)))
