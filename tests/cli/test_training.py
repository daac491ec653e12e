"""Training from the command line: stopped, killed, evaluated in a process of its own, and what is refused."""

import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import configs
from transformer_jax.cli import main, training
from transformer_jax.lab import trained, trial, trial_display
from transformer_jax.tasks import originals, registry
from transformer_jax.tasks.shakespeare import SET
from transformer_jax.train import programs
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.log import read_config, read_metrics
from transformer_jax.train.loop import Outcome

ROOT = Path(__file__).parents[2]
TINY = ["--model.num-layers", "1", "--train.warmup-steps", "2"]


def command(*words):
    return [sys.executable, str(ROOT / "run.py"), *map(str, words)]


def train(folder, steps, *more, width=8):
    every = ["--train.eval-every", "20", "--train.checkpoint-every", "20", "--train.chunk-steps", "5"]
    tiny = [*TINY, "--model.d-model", width, "--model.mlp-dim", width]
    return command("train", "digits_vit", "--out", folder, "--train.num-steps", steps, *tiny, *every, *more)


def run(words, **options):
    return subprocess.run(words, capture_output=True, text=True, timeout=300, **options)


def wait_for_rows(is_alive, folder, rows):
    while len(read_metrics(folder / "metrics.jsonl")) < rows and is_alive():
        time.sleep(0.02)


def _programs(config):
    task = registry.build(config)
    return programs.build(trial.build_model(config, task), task.objective, config.train)


def evaluate(folder, **options):
    return trained.evaluate(folder, registry.build, **options).lanes


def bits(folder):
    checkpoints = Checkpoints(folder / "checkpoints")
    target = jax.eval_shape(_programs(read_config(folder)).init)
    state, meta = checkpoints.restore(checkpoints.find("latest"), target)
    leaves = jax.tree.leaves(state.replace(key=jax.random.key_data(state.key)))
    return [np.asarray(leaf).tobytes() for leaf in leaves], meta["data"]


def command_here(*words):
    """The same in this process: quicker, for what is refused."""
    return main.main([str(word) for word in words])


def test_stopped_then_repeated_then_evaluated(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(train(folder, 4000), stderr=subprocess.PIPE, text=True)
    wait_for_rows(lambda: process.poll() is None, folder, 3)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 75 and time.monotonic() - began < 15, stderr
    (step,) = Checkpoints(folder / "checkpoints").steps()[-1:]
    assert f"stopped at step {step}: repeat the command" in stderr
    assert read_metrics(folder / "metrics.jsonl")[-1]["step"] == step
    (metrics,) = evaluate(folder, checkpoint="latest")
    assert set(metrics) == {"accuracy", "loss"}


def test_a_damaged_checkpoint_is_named_with_its_folder_and_with_another_that_is_whole(trained_run, tmp_path, capsys):
    folder = shutil.copytree(trained_run("recall"), tmp_path / "run")
    saved = folder / "checkpoints"
    (saved / "2" / "manifest.json").rename(saved / "kept")
    assert command_here("evaluate", folder) == 1
    assert f"{folder}: checkpoint 2 is damaged" in (stderr := capsys.readouterr().err) and "none that is" in stderr
    shutil.copytree(saved / "2", saved / "1")
    (saved / "kept").rename(saved / "1" / "manifest.json")
    assert command_here("evaluate", folder, "--checkpoint", "latest") == 1
    assert "checkpoint 2 is damaged: manifest.json" in (stderr := capsys.readouterr().err)
    assert stderr.endswith("; --checkpoint 1 is whole\n")
    assert command_here("evaluate", folder, "--checkpoint", 1) == 0


def test_stopped_while_nobody_reads_what_it_says(tmp_path):
    """As `2>&1 | tee log` leaves it after Ctrl-C, which ends tee at once."""
    process = subprocess.Popen(train(tmp_path, 4000), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for_rows(lambda: process.poll() is None, tmp_path, 1)
    process.stderr.close()
    wait_for_rows(lambda: process.poll() is None, tmp_path, 20)  # of which some are shown
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 75
    (step,) = Checkpoints(tmp_path / "checkpoints").steps()[-1:]
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == step


def test_a_training_whose_answer_nobody_reads_is_done(tmp_path):
    """As `| head -1` leaves it: the last lines, and a code that tells how the training ended."""
    process = subprocess.Popen(train(tmp_path, 20), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0 and "Errno" not in stderr and "Traceback" not in stderr, stderr
    assert (tmp_path / "run.html").exists()


def workers_of(process):
    """The processes that a training has started, as Linux knows them."""
    children = "".join(path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/children")).split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture
def with_workers(tmp_path):
    """A training in a process group of its own, past its first rows, with its worker processes."""
    words = train(tmp_path, 4000, "--task.workers", 2)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    wait_for_rows(lambda: process.poll() is None, tmp_path, 3)
    workers = workers_of(process)
    try:
        assert len(workers) == 2
        yield process, workers
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_together_with_its_workers(with_workers, tmp_path, number):
    process, _ = with_workers
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 75, stderr.decode()
    (step,) = Checkpoints(tmp_path / "checkpoints").steps()[-1:]
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == step


@pytest.mark.alone
@pytest.mark.slow
def test_no_worker_outlives_a_killed_training(with_workers):
    process, workers = with_workers
    process.kill()
    process.wait()
    give_up = time.monotonic() + 5
    while left := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < give_up, left
        time.sleep(0.05)


def test_no_worker_is_started_to_count_the_work():
    """They take seconds to start; those that train are enough."""
    config = configs.get("digits_vit")
    task = registry.build(config)
    flops = trial_display.matmul_flops(trial.build_model(config, task), task._replace(train=None), config)
    assert flops > 6 * config.task.batch_size * config.model.num_layers * config.model.d_model**2


def test_nothing_that_only_others_need_comes_before_the_first_steps(tmp_path):
    """Each import and each program of its own makes everybody wait; with the first numbers Python collects again."""
    code = f"""
import gc, sys, jax
import run
from transformer_jax.train.log import Log
compiled = []
def listen(event, seconds, fun_name=None, **_):
    if event == "/jax/core/compile/backend_compile_duration":
        compiled.append(fun_name)
jax.monitoring.register_event_duration_secs_listener(listen)
write, enabled = Log.write, []
def checked(self, *args):
    if not enabled:
        print(*sorted(compiled, key=str), file=sys.stderr)
        others = {OTHERS}
        print("imported:", *sorted(others & set(sys.modules)), file=sys.stderr)
    enabled.append(gc.isenabled())
    write(self, *args)
Log.write = checked
code = run.main({train(tmp_path / "run", 20)[2:]})
assert enabled == [False, True, True, True, True], enabled  # four chunks and an evaluation
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "imported:" in lines
    assert any(len(line.split()) == 4 and "run_chunk" in line for line in lines), done.stderr


OTHERS = "{'sklearn', 'scipy.stats', 'matplotlib', 'pandas', 'tensorflow_datasets', 'tokenizers', 'sacrebleu', 'torch'}"


COMPILES_LONG = ["--model.num-layers", 10, "--model.d-model", 8, "--model.mlp-dim", 8, "--train.warmup-steps", 2]


def launches(folder):
    return [json.loads(line) for line in (folder / "launches.jsonl").read_text().splitlines()]


def compiling(folder, cache, steps):
    """A training inside the first compile of its steps, which takes far longer than what is measured here."""
    words = command("train", "digits_vit", "--out", folder, "--train.num-steps", steps, *COMPILES_LONG)
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "XLA_FLAGS": ""}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
    while not (folder / "launches.jsonl").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(3)  # tracing the steps takes two, compiling them ten more
    assert process.poll() is None and not any(read_metrics(folder / "metrics.jsonl"))
    return process


@pytest.mark.alone
@pytest.mark.slow
def test_stopped_while_the_first_steps_compile(tmp_path):
    process = compiling(tmp_path / "run", tmp_path / "cache", 20)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 75 and time.monotonic() - began < 2, stderr
    assert "stopped at step 0: repeat the command" in stderr and "Traceback" not in stderr
    ends = [(line["kind"], line.get("status"), line["step"]) for line in launches(tmp_path / "run")]
    assert ends == [("start", None, 0), ("end", "stopped", 0)]
    for folder in ("run", "whole"):
        words = command("train", "digits_vit", "--out", tmp_path / folder, "--train.num-steps", 20, *COMPILES_LONG)
        assert run(words).returncode == 0
    assert bits(tmp_path / "run") == bits(tmp_path / "whole")
    for name in ("metrics.jsonl", "config.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_evaluate_gives_the_figure_of_training(tmp_path, capsys):
    folder = tmp_path / "run"
    assert command_here(*train(folder, 40)[2:]) == 0
    done = capsys.readouterr()
    assert "training to step 40: compiling ...\n" in done.err
    title, trained, page = done.out.splitlines()
    found = run(command("evaluate", folder, "--checkpoint", 40))
    assert found.stdout.splitlines() == [title, trained] and title == "digits, validation split, step 40 (best)"
    assert command_here(*train(folder, 40)[2:]) == 0
    again = capsys.readouterr()
    assert again.out == done.out and "compiling" not in again.err
    assert f"{folder} holds this run, finished at step 40: nothing is left to train" in again.err
    assert "--train.num-steps 80 would extend it" in again.err
    (metrics,) = evaluate(folder, checkpoint="40")
    last = read_metrics(folder / "metrics.jsonl")[-1]
    assert metrics == {name: last[name] for name in metrics}
    assert (folder / "run.html").exists() and json.loads((folder / "launches.jsonl").read_text().splitlines()[0])
    assert command_here(*train(folder, 30)[2:]) == 2
    assert "train.num_steps 40 there, 30 here" in capsys.readouterr().err
    assert command_here("evaluate", folder, "--checkpoint", 3) == 2
    assert command_here("evaluate", folder, "--checkpoint", "bst") == 2
    assert "did you mean best?" in capsys.readouterr().err
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "rows.jsonl").write_text("")
    assert command_here(*train(tmp_path / "rows", 40)[2:]) == 2
    assert "holds an experiment" in capsys.readouterr().err
    assert command_here("evaluate", folder, "--split", "tset") == 2
    assert "tset" in capsys.readouterr().err
    assert command_here("generate", folder, "--prompt", "a") == 2
    assert command_here("evaluate") == 2


def test_an_average_is_evaluated_and_named(tmp_path, capsys):
    folder = tmp_path / "run"
    assert command_here(*train(folder, 40, "--train.keep-last", 2)[2:]) == 0
    assert command_here("evaluate", folder, "--checkpoint", "average", "--csv", tmp_path / "rows.csv") == 0
    title, metrics = capsys.readouterr().out.splitlines()[-2:]
    assert title == "digits, validation split, average of steps 20, 40"
    (row,) = csv.DictReader((tmp_path / "rows.csv").open())
    assert row["step"] == "average of steps 20, 40" and f"loss {float(row['loss']):.6f}" in metrics
    assert command_here("evaluate", folder, "--checkpoint", "averge") == 2
    assert "did you mean average?" in capsys.readouterr().err
    assert command_here(*train(tmp_path / "no", 40, "--train.best", "bleu")[2:]) == 2
    assert "train.best='bleu' is no metric by which this task's best is chosen" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_data_may_have_moved_since_the_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(originals.ORIGINALS, SET, originals.ORIGINALS[SET]._replace(published={}))
    text = "".join(f"{n} times {n} is {n * n}, says the clerk.\n" for n in range(100, 160))
    (tmp_path / "input.txt").write_text(text)
    old, new, folder = (tmp_path / name for name in ("old", "new", "run"))
    assert command_here("prepare", SET, "--from", tmp_path, "--data-dir", old) == 0
    small = ["--task.seq-len", 8, "--model.d-model", 8, "--model.mlp-dim", 8, *TINY]
    words = ["train", "shakespeare_char", "--out", folder, "--train.num-steps", 4, "--task.data-dir", old, *small]
    after = f"to train on it: python run.py train shakespeare_char --task.data-dir {old}"
    assert capsys.readouterr().out.splitlines()[-1] == after
    assert command_here(*words) == 0
    trained = capsys.readouterr().out.splitlines()[1]
    old.rename(new)
    for words in (["evaluate", folder], ["generate", folder, "--prompt", "1", "--max-new", 2]):
        assert command_here(*words) == 2
        stderr = capsys.readouterr().err
        assert f"no prepared set '{SET}' in {old}" in stderr and "--data-dir FOLDER" in stderr
        assert command_here(*words, "--data-dir", tmp_path / "nowhere") == 2
        assert f"no prepared set '{SET}' in {tmp_path / 'nowhere'}" in capsys.readouterr().err
        assert command_here(*words, "--data-dir", new) == 0
        assert words[0] == "generate" or capsys.readouterr().out.splitlines()[1:] == [trained]
    assert read_config(folder).task.data_dir == str(old)


def test_a_recurrence_is_matched_and_evaluated_beside_attention(tmp_path, capsys):
    matching = ["--model.mixer", "gru", "--matching", "params"]
    for name, more in (("attention", []), ("gru", matching)):
        assert command_here(*train(tmp_path / name, 20, *more, width=24)[2:]) == 0
    capsys.readouterr()
    assert command_here("evaluate", tmp_path / "attention", tmp_path / "gru") == 0
    title, *table = capsys.readouterr().out.splitlines()
    header, *lines = (line.split() for line in table)
    assert title == "digits, validation split"
    assert header[:6] == ["run", "step", "mixer", "width", "parameters", "step_seconds"] and "loss" in header
    assert [line[1:3] for line in lines] == [["20", "attention"], ["20", "gru"]]
    params = [int(line[4]) for line in lines]
    assert abs(params[1] / params[0] - 1) <= 0.02
    trained = Checkpoints(tmp_path / "gru" / "checkpoints")
    config = read_config(tmp_path / "gru")
    assert config.model.recurrent_dim == int(lines[1][3])
    state, _ = trained.restore(trained.find("best"), jax.eval_shape(_programs(config).init))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == params[1]


SIZES = ["--task.num-items", 2, "--task.vocab-size", 16]
RECALL = ["--task.name", "associative_recall", *SIZES, "--task.batch-size", 4]


def recall(folder, *more, steps=4, seq_len=8):
    """A training of a second, on what is generated, with the config that is measured."""
    sizes = ["--model.d-model", 8, "--model.num-layers", 1, "--model.mlp-dim", 8, "--task.seq-len", seq_len]
    every = ["--train.eval-every", 2, "--train.checkpoint-every", 2]
    return ["train", "bench", "--out", folder, "--train.num-steps", steps, *RECALL, *sizes, *every, *more]


@pytest.fixture(scope="module")
def recalled(tmp_path_factory):
    """recalled(folder): makes a folder that of a finished training, of `recall`, which is done once."""
    first = tmp_path_factory.mktemp("recalled") / "run"
    assert command_here(*recall(first)) == 0
    return lambda folder: shutil.copytree(first, folder, dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("name", "mixer", "metrics"), [("s5_words", "attention", {"accuracy"}), ("adding", "lstm", {"r2"})]
)
def test_a_generated_task_is_trained_on_by_its_name_alone(name, mixer, metrics, tmp_path, capsys):
    lengths = ["--task.min-len", 2] if name == "s5_words" else []
    words = recall(tmp_path, "--task.name", name, "--model.mixer", mixer, *lengths, steps=3)
    at = words.index(SIZES[0])  # of associative_recall alone
    assert command_here(*words[:at], *words[at + len(SIZES) :]) == 0
    printed = capsys.readouterr().out
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if row["split"] == "validation"]
    assert name in printed and {row["step"] for row in rows} == {2, 3} and metrics <= rows[0].keys()


def test_several_runs_are_one_table_with_intervals_and_one_csv(tmp_path, capsys):
    for seed in (0, 5):
        assert command_here(*recall(tmp_path / str(seed), "--train.lanes", 3, "--train.seed", seed)) == 0
    trained = capsys.readouterr().out.splitlines()
    steps = [i for i, line in enumerate(trained) if line.endswith("step 4 (best)") or line.endswith("step 4 (latest)")]
    trained = trained[steps[0] :]
    assert [line.split(":")[0] for line in trained[1:5]] == ["lane 0", "lane 1", "lane 2", "mean"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert command_here("evaluate", tmp_path / "0", tmp_path / "emty") == 2
    assert f"emty holds no run: there is no such folder; did you mean {tmp_path / 'empty'}?" in capsys.readouterr().err
    folders = [tmp_path / name for name in ("0", "empty", "file", "5")]
    assert command_here("evaluate", *folders, "--checkpoint", "latest", "--csv", tmp_path / "all.csv") == 0
    shown, noted = capsys.readouterr()
    assert noted.count("left out: ") == 2 and all(
        f"{tmp_path / name} holds no run" in noted for name in ("empty", "file")
    )
    title, header, *lines = shown.splitlines()
    assert title == "associative_recall (seq_len 8, vocab_size 16, num_items 2), validation split"
    with open(tmp_path / "all.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["step"], row["lane"]) for row in rows] == [
        (str(tmp_path / run), "4", lane) for run in "05" for lane in "012"
    ]
    assert [float(row["loss"]) for row in rows[:3]] == [
        lane["loss"] for lane in evaluate(tmp_path / "0", checkpoint="4")
    ]
    for line, run in zip(lines, (rows[:3], rows[3:]), strict=True):
        losses = [float(row["loss"]) for row in run]
        half = 4.302653 * np.std(losses, ddof=1) / 3**0.5
        assert f"{np.mean(losses):.4f} [{np.mean(losses) - half:.4f}, {np.mean(losses) + half:.4f}]" in line
    assert command_here("evaluate", tmp_path / "0", "--checkpoint", "latest") == 0
    assert capsys.readouterr().out.splitlines() == trained[:5] and trained[0].startswith(f"{title}, step 4 (")
    assert command_here("evaluate", tmp_path / "empty", tmp_path / "file") == 2
    assert command_here("evaluate", tmp_path / "0", "--csv", tmp_path / "nowhere" / "x.csv") == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_run_that_is_not_finished_is_not_shown_as_one_that_is(recalled, tmp_path, capsys):
    file = recalled(tmp_path / "half") / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"train.num_steps": 1200}))
    of_early = [*launches(tmp_path / "half"), {"kind": "start", "step": 4}]  # as a killed launch leaves them
    (tmp_path / "half" / "launches.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of_early))
    early = shutil.copytree(tmp_path / "half", tmp_path / "early")
    of_early.append({"kind": "end", "status": "done", "step": 4})  # by train.patience
    (early / "launches.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of_early))
    capsys.readouterr()
    for name, ends in (("half", ") of 1,200 steps, not finished"), ("early", ")")):
        assert command_here("evaluate", tmp_path / name, "--checkpoint", "latest") == 0
        title = capsys.readouterr().out.splitlines()[0]
        assert title.endswith(ends) and "step 4 (" in title
    assert command_here("evaluate", tmp_path / "half", early) == 0
    assert capsys.readouterr().err == f"{tmp_path / 'half'} holds a run of 1,200 steps, not finished\n"


def test_different_tasks_are_no_one_table(recalled, tmp_path, capsys):
    recalled(tmp_path / "short")
    file = recalled(tmp_path / "long") / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"task.seq_len": 12}))
    capsys.readouterr()
    assert command_here("evaluate", tmp_path / "short", tmp_path / "long", "--csv", tmp_path / "x.csv") == 2
    shown, error = capsys.readouterr()
    assert shown == "" and "different tasks" in error and "seq_len 8" in error and "seq_len 12" in error
    assert not (tmp_path / "x.csv").exists()


def test_all_that_a_config_lacks_for_a_task_is_named_at_once(tmp_path, capsys):
    lacking = ["--task.name", "digits", "--model.max-len", 8, "--task.seq-len", 8, "--model.tie-embeddings", "true"]
    assert command_here("train", "bench", "--out", tmp_path / "run", *lacking) == 2
    error = capsys.readouterr().err
    for key in ("set task.patch_size, to 2", "model.max_len=8", "model.tie_embeddings=True"):
        assert key in error
    assert not (tmp_path / "run").exists()


def test_a_key_that_the_mixer_does_not_read_is_refused_unless_matching_makes_it_matter(tmp_path, capsys, monkeypatch):
    of_gru, of_attention = ["--model.mixer", "gru", "--model.num-heads", 2], ["--model.recurrent-dim", 8]
    for more, message in (
        (of_gru, "model.num_heads: model.mixer=gru does not read it; attention does; with --matching params or flops"),
        (of_attention, "model.recurrent_dim: model.mixer=attention does not read it; rnn, gru, lstm, min_gru does\n"),
        ([*of_attention, "--matching", "params"], "model.mixer=attention does not read it"),
    ):
        assert command_here("train", "digits_vit", "--out", tmp_path / "run", *more) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "run").exists()
    monkeypatch.setattr(training, "_train", lambda config, *_: trained_configs.append(config) or Outcome("nan", 0, []))
    trained_configs = []
    assert command_here("train", "digits_vit", "--out", tmp_path / "run", *of_gru, "--matching", "params") == 1
    assert trained_configs[0].model.num_heads == 2


def test_a_run_that_ends_by_what_is_not_finite_says_what_helps(tmp_path, capsys):
    assert command_here(*recall(tmp_path / "run", "--train.peak-lr", 1e30)) == 1
    assert "not finite before step 2: a lower train.peak_lr, here 1e+30, helps" in capsys.readouterr().err
    assert command_here(*recall(tmp_path / "run")) == 2
    assert "choose another --out, or remove that folder" in capsys.readouterr().err


def test_a_finished_run_goes_on_with_more_steps(tmp_path, capsys):
    cosine = ["--train.schedule", "cosine"]
    assert command_here(*recall(tmp_path, *cosine)) == 0
    before = (tmp_path / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert command_here(*recall(tmp_path, *cosine, steps=8)) == 0
    shown = capsys.readouterr()
    text = "extended from 4 to 8 steps: steps up to 4 were trained under the cosine schedule of 4 steps"
    assert text in shown.err and text in (tmp_path / "run.html").read_text()
    assert (tmp_path / "metrics.jsonl").read_bytes().startswith(before)
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == read_config(tmp_path).train.num_steps == 8


@pytest.mark.parametrize(
    "words",
    [
        ["train", "digits_vit", "--out", "o"],
        ["evaluate", "run"],
        ["experiment", "recall"],
        ["experiment", "attention_cost", "--dry-run"],
    ],
)
def test_a_device_that_is_not_there_is_one_clear_error(recalled, tmp_path, words):
    if words[0] == "evaluate":
        recalled(tmp_path / "run")
    done = run(command(*words), cwd=tmp_path, env=os.environ | {"JAX_PLATFORMS": "rocm"})
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stdout == ""
    assert "JAX_PLATFORMS=rocm: JAX finds no such device" in done.stderr, done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_killed_twenty_times_and_still_the_same_run(tmp_path):
    """kill -9 at random moments, with dropout, shuffled data and checkpoints in the middle of epochs.

    Every launch is a process of its own, forked from one that has imported everything, which is half of a start.
    The run is so long that no machine ends it in the twenty moments that it is given.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["transformer_jax.cli.main", "transformer_jax.cli.training", "transformer_jax.lab.trial"]
    )

    def launch(folder):
        process = processes.Process(target=main.main, args=(train(tmp_path / folder, 1600)[2:],))
        process.start()
        return process

    whole, dice = launch("whole"), random.Random(0)
    for _ in range(20):
        before = len(read_metrics(tmp_path / "killed" / "metrics.jsonl"))
        process = launch("killed")
        wait_for_rows(process.is_alive, tmp_path / "killed", before + dice.randrange(12))
        time.sleep(dice.random() * 0.3)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed twenty times"
    last = launch("killed")
    for process in (whole, last):
        process.join()
        assert process.exitcode == 0
    assert max(Checkpoints(tmp_path / "killed" / "checkpoints").steps()) == 1600
    assert bits(tmp_path / "killed") == bits(tmp_path / "whole")
    for name in ("metrics.jsonl", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_training_runs_are_compared_on_one_page(recalled, tmp_path, capsys):
    recalled(tmp_path / "0")
    assert command_here(*recall(tmp_path / "1", "--train.seed", 1)) == 0
    page = tmp_path / "both.html"
    capsys.readouterr()
    assert main.main(["compare", str(tmp_path / "0"), str(tmp_path / "1"), "--out", str(page)]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert "train.seed" in page.read_text() and "<svg" in page.read_text()


def test_where_the_best_step_is_not_the_last_both_are_printed_as_evaluate_does(recalled, tmp_path, capsys):
    """A learning rate that spoils what was learned: the losses of the two steps cannot be mixed up."""
    recalled(tmp_path)
    capsys.readouterr()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert command_here(*recall(tmp_path, steps=4)) == 0
    printed = capsys.readouterr().out.splitlines()
    expected = []
    for step in sorted({checkpoints.find("best"), checkpoints.find("latest")}):
        assert command_here("evaluate", tmp_path, "--checkpoint", step) == 0
        expected += capsys.readouterr().out.splitlines()
    assert printed == [*expected, str(tmp_path / "run.html")]


def test_a_data_folder_that_is_not_read_is_refused_in_training_and_a_note_elsewhere(recalled, tmp_path, capsys):
    assert command_here(*recall(tmp_path / "other", "--task.data-dir", "/nope")) == 2
    refused = "task.data_dir: the task associative_recall does not read it; it reads task.batch_size, task.num_items"
    assert refused in capsys.readouterr().err and not (tmp_path / "other").exists()
    recalled(tmp_path)
    assert command_here("evaluate", tmp_path, "--data-dir", "/nope") == 0
    assert "--data-dir /nope is not used: associative_recall reads no prepared set" in capsys.readouterr().err
    assert command_here("evaluate", tmp_path) == 0
    assert "not used" not in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_named_for_what_it_is(tmp_path, capsys):
    (tmp_path / "results" / "cells").mkdir(parents=True)
    (tmp_path / "results" / "rows.jsonl").write_text("")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    for folder, message in {
        "results": f"an experiment's results, which `python run.py report {tmp_path / 'results'}` draws; its trai",
        "run/checkpoints": f"it has no config.json; did you mean {tmp_path / 'run'}?",
        ".": f"it has no config.json; did you mean {tmp_path / 'run'}?",
    }.items():
        for words in (["evaluate"], ["generate", "--prompt", "a"]):
            assert command_here(*words, tmp_path / folder) == 2
            assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "key", "more"),
    [
        ("digits_vit", "attention", ()),
        ("digits_vit", "recurrence", ("--model.mixer", "lstm")),
        ("numbers_en_fr", "attention", ()),
        ("digits_stream", "attention", ()),
    ],
)
def test_what_cannot_run_here_is_an_error_before_anything_is_written(tmp_path, capsys, name, key, more):
    assert command_here("train", name, f"--model.{key}", "cudnn", *more, "--out", tmp_path / "run") == 2
    assert f"error: model.{key}=cudnn cannot run here: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_whose_checkpoints_are_gone_says_that_it_begins_anew(tmp_path, capsys):
    assert command_here(*train(tmp_path / "run", 20)[2:]) == 0
    first = trial.curve(tmp_path / "run", "validation")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert "begins anew" not in capsys.readouterr().err
    assert command_here(*train(tmp_path / "run", 20)[2:]) == 0
    assert "no checkpoint is there any more: the run begins anew at step 0" in capsys.readouterr().err
    assert trial.curve(tmp_path / "run", "validation") == first
