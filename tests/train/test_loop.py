"""However a run is stopped, broken off or resumed, what it leaves is what an unbroken run leaves."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.config import ConfigError, TrainConfig
from transformer_jax.models import Model
from transformer_jax.tasks.objectives import cross_entropy
from transformer_jax.tasks.task import Objective
from transformer_jax.train import loop, programs
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.evaluate import evaluate
from transformer_jax.train.log import Log, read_metrics
from transformer_jax.train.loop import MAX_ROLLBACKS, fit, next_stop
from transformer_jax.train.progress import Progress

OBJECTIVE = cross_entropy()


def restored(folder, model, config, which="latest"):
    checkpoints = Checkpoints(folder / "checkpoints")
    target = jax.eval_shape(programs.build(model, OBJECTIVE, config.train).init)
    return checkpoints.restore(checkpoints.find(which), target)[0]


def bits(state):
    leaves = jax.tree.leaves(state.replace(key=jax.random.key_data(state.key)))
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def assert_same(one, other, model, config):
    assert bits(restored(one, model, config)) == bits(restored(other, model, config))
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()


def rows_of(folder, split):
    return [row for row in read_metrics(folder / "metrics.jsonl") if row.get("split") == split]


def test_stopped_after_every_chunk_or_never(parts, tmp_path):
    model, task, config = parts()
    assert fit(model, task, config, tmp_path / "whole").status == "done"
    statuses = []
    while "done" not in statuses:
        asked = itertools.count()
        outcome = fit(model, task, config, tmp_path / "pieces", stopping=lambda c=asked: next(c) > 0)
        statuses.append(outcome.status)
    assert statuses == ["stopped"] * 5 + ["done"]  # six chunks; a stop after the last is no stop
    assert_same(tmp_path / "whole", tmp_path / "pieces", model, config)


@pytest.mark.parametrize("steps_drawn", [1, 5, 10])
def test_broken_off_anywhere(parts, tmp_path, steps_drawn):
    """As kill -9 leaves it: later rows and a torn line in metrics.jsonl, the data further on than the checkpoint."""
    model, task, config = parts()
    fit(model, task, config, tmp_path / "whole")

    def fails_later(seed):
        stream = task.train(seed)
        draw, count = stream.__class__.__next__, itertools.count(1)

        class Failing(stream.__class__):
            def __next__(self):
                if next(count) > steps_drawn:
                    raise RuntimeError("power cut")
                return draw(self)

        stream.__class__ = Failing
        return stream

    broken = SimpleNamespace(**vars(task) | {"train": fails_later})
    with pytest.raises(RuntimeError, match="power cut"):
        fit(model, broken, config, tmp_path / "broken")
    with open(tmp_path / "broken" / "metrics.jsonl", "a") as file:
        file.write('{"step": 11, "split": "train", "lo')
    assert fit(model, task, config, tmp_path / "broken").status == "done"
    assert_same(tmp_path / "whole", tmp_path / "broken", model, config)


def test_a_finished_run_is_left_as_it_is(parts, tmp_path):
    model, task, config = parts()
    fit(model, task, config, tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert fit(model, task, config, tmp_path).status == "done"
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_another_config_is_refused_with_the_difference(parts, tmp_path):
    model, task, config = parts({"train.num_steps": 8})
    fit(model, task, config, tmp_path)
    model, task, other = parts({"train.num_steps": 4, "train.peak_lr": 0.5})
    with pytest.raises(ConfigError, match=r"train.num_steps 8 there, 4 here; train.peak_lr 0.01 there, 0.5 here"):
        fit(model, task, other, tmp_path)


def extended_by(folder):
    launches = [json.loads(line) for line in (folder / "launches.jsonl").read_text().splitlines()]
    return [(launch["step"], launch["before"], launch["text"]) for launch in launches if launch["kind"] == "extended"]


SQUARE_ROOT = {"train.schedule": "inverse_sqrt", "train.warmup_steps": 3}


@pytest.mark.parametrize("overrides", [{}, {"train.warmup_steps": 3, "train.lanes": 2}, SQUARE_ROOT])
def test_more_steps_extend_a_finished_run_to_the_unbroken_one(parts, tmp_path, overrides):
    """Where the learning rate does not depend on them, from a step that checkpoint_every divides; stopped as well."""
    model, task, short = parts(overrides | {"train.num_steps": 4})
    assert fit(model, task, short, tmp_path / "grown").step == 4
    assert extended_by(tmp_path / "grown") == []
    model, task, config = parts(overrides)
    assert fit(model, task, config, tmp_path / "grown", stopping=stop_after(1)).step == 6
    assert fit(model, task, config, tmp_path / "grown").status == "done"
    fit(model, task, config, tmp_path / "whole")
    assert_same(tmp_path / "whole", tmp_path / "grown", model, config)
    assert (tmp_path / "grown" / "config.json").read_bytes() == (tmp_path / "whole" / "config.json").read_bytes()
    assert (
        Checkpoints(tmp_path / "grown" / "checkpoints").steps()
        == Checkpoints(tmp_path / "whole" / "checkpoints").steps()
    )
    ((step, before, text),) = extended_by(tmp_path / "grown")
    assert (step, before) == (4, 4) and text.startswith("extended from 4 to 12 steps: the learning rate ")
    assert text.endswith("so that these are the steps of an unbroken run")


def test_an_extension_from_between_two_evaluations_keeps_its_row(parts, tmp_path):
    model, task, short = parts({"train.num_steps": 6})
    fit(model, task, short, tmp_path / "grown")
    before = (tmp_path / "grown" / "metrics.jsonl").read_text()
    model, task, config = parts()
    fit(model, task, config, tmp_path / "grown")
    fit(model, task, config, tmp_path / "whole")
    assert (tmp_path / "grown" / "metrics.jsonl").read_text().startswith(before)
    assert [row["step"] for row in rows_of(tmp_path / "grown", "validation")] == [4, 6, 8, 12]
    assert rows_of(tmp_path / "grown", "train") == rows_of(tmp_path / "whole", "train")
    assert bits(restored(tmp_path / "grown", model, config)) == bits(restored(tmp_path / "whole", model, config))


@pytest.mark.parametrize(("schedule", "at"), [("cosine", "75%"), ("linear", "67%")])
def test_a_decaying_schedule_is_begun_anew_over_all_steps_and_says_so(parts, tmp_path, schedule, at):
    decays = {"train.schedule": schedule}
    model, task, short = parts(decays | {"train.num_steps": 4})
    fit(model, task, short, tmp_path / "grown")
    first = (tmp_path / "grown" / "metrics.jsonl").read_text()
    noted = []
    progress = Progress()
    progress.note = noted.append
    model, task, config = parts(decays)
    assert fit(model, task, config, tmp_path / "grown", progress=progress).step == 12
    fit(model, task, config, tmp_path / "whole")
    ((step, before, text),) = extended_by(tmp_path / "grown")
    assert noted == [text] and (step, before) == (4, 4)
    assert f"steps up to 4 were trained under the {schedule} schedule of 4 steps" in text
    assert f"at step 4 is at {at} of the peak learning rate where the old one was at 0%" in text
    assert (tmp_path / "grown" / "metrics.jsonl").read_text().startswith(first)
    assert (tmp_path / "grown" / "metrics.jsonl").read_bytes() != (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_checkpoint_evaluates_to_the_figure_of_training(parts, tmp_path):
    model, task, config = parts()
    fit(model, task, config, tmp_path)
    run = programs.build(model, OBJECTIVE, config.train)
    logged = {row["step"]: row["loss"] for row in rows_of(tmp_path, "validation")}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.find("best") == min(logged, key=logged.get)
    for step in checkpoints.steps():
        params = restored(tmp_path, model, config, str(step)).params
        (metrics,) = evaluate(run, params, task.evaluate("validation"), task.objective)
        assert metrics["loss"] == logged[step]


def test_training_lowers_the_loss(parts, tmp_path):
    every = {"train.num_steps": 100, "train.eval_every": 100, "train.checkpoint_every": 100}
    model, task, config = parts(every, real=True)
    fit(model, task, config, tmp_path)
    losses = [row["loss"] for row in rows_of(tmp_path, "train")]
    assert losses[-1] < 0.8 * losses[0]


def test_nan_ends_the_run_and_the_last_good_checkpoint_stays(parts, tmp_path):
    model, task, config = parts(poisoned={9})
    outcome = fit(model, task, config, tmp_path)
    assert (outcome.status, outcome.step) == ("nan", 10)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.find("latest") == 8
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(restored(tmp_path, model, config).params))
    before = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(before.splitlines()[-1]) == {"step": 10, "event": "nan"}
    assert fit(model, task, config, tmp_path).status == "nan"  # the same command finds the same end
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_nan_after_a_stop_leaves_what_was_saved_there(parts, tmp_path):
    model, task, config = parts({"train.checkpoint_every": 12}, poisoned={9})
    assert fit(model, task, config, tmp_path, stopping=stop_after(3)).step == 6
    assert fit(model, task, config, tmp_path).status == "nan"
    assert Checkpoints(tmp_path / "checkpoints").steps() == [6]  # nothing else is left of it


def test_nan_is_left_out(parts, tmp_path):
    model, task, config = parts({"train.nan_policy": "skip"}, poisoned={9, 10})
    assert fit(model, task, config, tmp_path).status == "done"
    skipped = {row["step"]: row["skipped"] for row in rows_of(tmp_path, "train")}
    assert skipped == {2: 0, 4: 0, 6: 0, 8: 0, 10: 0.5, 12: 0.5}
    assert all(np.isfinite(row["loss"]) for row in rows_of(tmp_path, "train"))


def test_nan_rolls_back_and_goes_on_with_later_data(parts, tmp_path):
    model, task, config = parts({"train.nan_policy": "rollback"}, poisoned={9})
    assert fit(model, task, config, tmp_path / "whole").status == "done"
    rows = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    assert {"step": 10, "event": "rollback", "to": 8} in rows
    assert [row["step"] for row in rows if row.get("split") == "train"] == [2, 4, 6, 8, 10, 12]
    while fit(model, task, config, tmp_path / "pieces", stopping=stop_after(2)).status != "done":
        pass
    steps = [row["step"] for row in read_metrics(tmp_path / "pieces" / "metrics.jsonl")]
    assert steps.count(12) == 2


def stop_after(chunks):
    asked = itertools.count()
    return lambda: next(asked) >= chunks


def test_nan_that_comes_back_ends_the_run(parts, tmp_path):
    model, task, config = parts({"train.nan_policy": "rollback"}, poisoned=set(range(9, 100)))
    assert fit(model, task, config, tmp_path).status == "nan"
    events = [row["event"] for row in read_metrics(tmp_path / "metrics.jsonl") if "event" in row]
    assert events == ["rollback"] * MAX_ROLLBACKS + ["nan"]


@pytest.mark.parametrize("chunks", [3, 4, 5])
@pytest.mark.parametrize(
    ("poisoned", "status"), [({3}, "done"), ({7}, "done"), ({7, 11, 17}, "done"), ({7, 13, 17, 21}, "nan")]
)
def test_a_stop_does_not_move_what_is_rolled_back_to(parts, tmp_path, whole_runs, chunks, poisoned, status):
    """A run that is stopped between two checkpoints, and then perhaps broken off, meets the same data and states."""
    overrides = {"train.nan_policy": "rollback"}
    model, task, config = parts(overrides, poisoned)
    whole = whole_runs / "-".join(map(str, poisoned))
    assert (whole / "metrics.jsonl").exists() or fit(model, task, config, whole).status == status
    fit(model, task, config, tmp_path, stopping=stop_after(chunks))
    with contextlib.suppress(KeyboardInterrupt):  # as kill -9: nothing is saved at the end
        fit(model, task, config, tmp_path, stopping=broken_off_after(1))
    assert fit(model, task, config, tmp_path).status == status
    assert_same(whole, tmp_path, model, config)
    assert Checkpoints(tmp_path / "checkpoints").steps() == Checkpoints(whole / "checkpoints").steps()


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


def broken_off_after(chunks):
    asked = itertools.count()

    def ask():
        if next(asked) >= chunks:
            raise KeyboardInterrupt
        return False

    return ask


@pytest.mark.parametrize(("poisoned", "status"), [((), "done"), ({0}, "nan")])
def test_what_is_done_is_not_left_behind(parts, tmp_path, monkeypatch, poisoned, status):
    """From the first chunk on, or the end of the loop, a signal finds that there is something to lose."""
    model, task, config = parts(poisoned=poisoned)
    for name in ("write", "event"):
        written = getattr(Log, name)

        def checked(self, *args, written=written, **details):
            assert progress.advanced
            written(self, *args, **details)

        monkeypatch.setattr(Log, name, checked)
    for _ in range(2):  # the second launch of a run that is done has no steps to do
        progress = Progress()
        assert not progress.advanced
        assert fit(model, task, config, tmp_path, progress=progress).status == status


def test_nothing_is_compiled_when_there_are_steps_to_lose(parts, tmp_path):
    """A request to stop would wait for the compiler. Chunks of three steps and of one, and the evaluation."""
    every = {"train.num_steps": 14} | dict.fromkeys(("train.eval_every", "train.checkpoint_every"), 7)
    model, task, config = parts(every | {"train.chunk_steps": 3, "train.beta2": 0.98})  # programs of this test alone
    progress, compiled = Progress(), []

    def listen(event, seconds, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(progress.advanced)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        fit(model, task, config, tmp_path, progress=progress)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled.count(False) >= 4 and True not in compiled


@pytest.mark.parametrize("mixer", ["attention", pytest.param("gru", marks=pytest.mark.slow)])
def test_a_lane_is_the_run_alone(parts, tmp_path, mixer):
    short = {"model.mixer": mixer, "train.num_steps": 4}
    model, task, config = parts(short | {"train.lanes": 2, "train.lane_lrs": (0.01, 0.003)}, real=True)
    fit(model, task, config, tmp_path / "lanes")
    lanes = restored(tmp_path / "lanes", model, config)
    for lane, lr in enumerate(config.train.lane_lrs):
        _, task, alone = parts(short | {"train.seed": 5 + lane, "train.peak_lr": lr}, real=True)
        fit(model, task, alone, tmp_path / str(lane))
        params = restored(tmp_path / str(lane), model, alone).params
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(lanes.params), jax.tree.leaves(params), strict=True
        ):
            # softmax does not see the keys' bias: its gradient is rounding alone, which Adam makes large
            if not jax.tree_util.keystr(path, simple=True, separator="/").endswith("key/bias"):
                np.testing.assert_allclose(a[lane], b, atol=1e-6, err_msg=str(path))
        for split in ("train", "validation"):
            mine = [row for row in rows_of(tmp_path / "lanes", split) if row["lane"] == lane]
            single = rows_of(tmp_path / str(lane), split)
            assert [row["step"] for row in mine] == [row["step"] for row in single]
            np.testing.assert_allclose([row["loss"] for row in mine], [row["loss"] for row in single], atol=1e-6)


FIRST_STATES = """
import jax
from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape, TrainConfig
from transformer_jax.tasks.objectives import cross_entropy
from transformer_jax.train import programs
config = ModelConfig(mixer="lstm", d_model=128, recurrent_dim=71, num_layers=4, scan_layers=False)
model = models.build(config, Shape(256, 256, vocab_size=256))
jax.block_until_ready(programs.build(model, cross_entropy(), TrainConfig(lanes=4)).init())
"""


@pytest.mark.slow
def test_lanes_of_a_recurrence_begin():
    """In a process of its own, with the code that users get: it hung in XLA, where no test could have ended it."""
    environment = os.environ | {"XLA_FLAGS": "", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    subprocess.run([sys.executable, "-c", FIRST_STATES], env=environment, timeout=100, check=True)


def test_batches_of_several_lengths(parts, tmp_path):
    model, task, config = parts({"train.num_steps": 6, "train.eval_every": 6, "train.checkpoint_every": 6})

    def cut(batch, length):
        return {name: value[:, :length] for name, value in batch.items()}

    class Bucketed:
        def __init__(self, seed):
            self.stream = task.train(seed)

        def __next__(self):
            batch = next(self.stream)
            return cut(batch, 3 + self.stream.step % 2)

        def get_state(self):
            return self.stream.get_state()

    bucketed = SimpleNamespace(**vars(task) | {"train": Bucketed})
    assert fit(model, bucketed, config, tmp_path).status == "done"
    assert [row["step"] for row in rows_of(tmp_path, "train")] == [2, 4, 6]


def test_batches_that_differ_in_another_array_than_the_inputs(parts, tmp_path):
    """Marks of several lengths beside inputs of one: they are not stacked either."""
    model, task, config = parts({"train.num_steps": 4, "train.eval_every": 4, "train.checkpoint_every": 4})

    class Marked:
        def __init__(self, seed):
            self.stream = task.train(seed)

        def __next__(self):
            return next(self.stream) | {"marks": np.zeros((4, 2 + self.stream.step % 2), np.float32)}

        def get_state(self):
            return self.stream.get_state()

    marked = SimpleNamespace(**vars(task) | {"train": Marked})
    assert fit(model, marked, config, tmp_path).status == "done"
    assert [row["step"] for row in rows_of(tmp_path, "train")] == [2, 4]


LENGTHS = ((4, 3, 5), (2, 2, 3), (2, 4, 4))
"""(rows, source tokens, target tokens) of a batch of each bucket."""


def init(key):
    return {"kernel": jax.random.normal(key, (7, 7))}


def read(params, inputs, *, source, source_lengths, lengths=None, train, key):
    """The next token from this one and the mean of the source, with dropout."""
    seen = (np.arange(source.shape[1]) < source_lengths[:, None]) / source_lengths[:, None]
    context = (params["kernel"][source] * seen[..., None]).sum(1, keepdims=True)
    logits = params["kernel"][inputs] + context
    return logits * jax.random.bernoulli(key, 0.8, logits.shape) if train else logits


READER = Model(init, read, None, None)


def with_source(batch, lengths):
    rows, source, target = lengths
    cut = {name: value[:rows, :target] for name, value in batch.items()}
    return cut | {"source": batch["inputs"][:rows, :source], "source_lengths": np.arange(rows, dtype=np.int32) + 1}


def of_two_sequences(task, **more):
    """The task with sources, in three buckets for training (the same for every seed) and two for evaluation."""

    class Bucketed(type(task.train(0))):
        def __next__(self):
            bucket = (0, 1, 1, 2, 0)[self.step % 5]
            return with_source(super().__next__(), LENGTHS[bucket])

    def evaluate(split):
        return (with_source(batch, lengths) for batch, lengths in zip(task.evaluate(split), LENGTHS, strict=False))

    def examples():
        batch = next(iter(task.evaluate("validation")))
        return [with_source(batch, lengths) for lengths in LENGTHS], list(evaluate("validation"))

    def train(seed):
        stream = task.train(seed)
        stream.__class__ = Bucketed
        return stream

    return SimpleNamespace(**vars(task) | {"train": train, "evaluate": evaluate, "examples": examples} | more)


@pytest.mark.parametrize("lanes", [1, 2])
def test_buckets_of_two_sequences_go_on_bit_for_bit(parts, tmp_path, lanes):
    """Stopped, then broken off as kill -9 leaves it, then stopped again; the average and the kept files as well."""
    _, task, config = parts({"train.lanes": lanes, "train.keep_last": 2, "train.num_steps": 15})
    task = of_two_sequences(task, files={"tokenizer.json": b"{}"})
    assert fit(READER, task, config, tmp_path / "whole").status == "done"
    assert fit(READER, task, config, tmp_path / "pieces", stopping=stop_after(3)).step == 6
    with pytest.raises(KeyboardInterrupt):
        fit(READER, task, config, tmp_path / "pieces", stopping=broken_off_after(2))
    assert fit(READER, task, config, tmp_path / "pieces", stopping=stop_after(1)).step == 10
    assert fit(READER, task, config, tmp_path / "pieces").status == "done"
    assert_same(tmp_path / "whole", tmp_path / "pieces", READER, config)
    found = [averaged(tmp_path / name, READER, config) for name in ("whole", "pieces")]
    assert [steps for steps, _ in found] == [[8, 12], [8, 12]]
    one, other = (params["kernel"] for _, params in found)
    assert one.shape == (7, 7) if lanes == 1 else (2, 7, 7)
    assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    kept = [restored(tmp_path / "whole", READER, config, str(step)).params["kernel"] for step in (8, 12)]
    np.testing.assert_array_equal(one, np.mean(np.array(kept, np.float64), 0).astype(np.float32))
    assert (tmp_path / "pieces" / "tokenizer.json").read_bytes() == b"{}"
    if lanes == 2:
        losses = {lane: [row["loss"] for row in rows_of(tmp_path / "whole", "train") if row["lane"] == lane]
                  for lane in (0, 1)}  # fmt: skip
        _, task, alone = parts({"train.keep_last": 2, "train.num_steps": 15, "train.seed": 6})
        fit(READER, of_two_sequences(task), alone, tmp_path / "alone")
        np.testing.assert_allclose(losses[1], [row["loss"] for row in rows_of(tmp_path / "alone", "train")], atol=1e-6)


def averaged(folder, model, config):
    kept = {"keep_last": config.train.keep_last, "every": config.train.checkpoint_every}
    checkpoints = Checkpoints(folder / "checkpoints", **kept)
    return checkpoints.restore_average(jax.eval_shape(programs.build(model, OBJECTIVE, config.train).init))


@pytest.mark.parametrize("lanes", [1, 2])
def test_every_shape_is_compiled_and_counted_before_the_first_step(parts, tmp_path, monkeypatch, lanes):
    """Three of training, two of evaluation, and what writes the judge's answers to those two; in a second launch too,
    whose state is bound to a device and so has programs of its own."""
    overrides = {"train.num_steps": 8, "train.peak_lr": 0.03, "train.lanes": lanes}  # programs of this test alone
    _, task, config = parts(overrides)
    task = of_two_sequences(task)
    built, write = programs.build, jax.jit(lambda params, source, lengths: source + params["kernel"].astype(int)[0, 0])

    def judged(*given):
        run = built(*given)

        def judge(params, batches):
            written = [write(params, batch["source"], batch["source_lengths"]) for batch in batches]
            return {"bleu": float(sum(np.asarray(one).sum() for one in written))}

        return run._replace(judge=judge, write=write)

    monkeypatch.setattr(programs, "build", judged)
    for stopping in (stop_after(2), lambda: False):
        progress, compiled, counted = Progress(), [], []
        progress.compiling = lambda *numbers, now=progress, found=counted: found.append((*numbers, now.advanced))

        def listen(event, seconds, now=progress, found=compiled, **details):
            if event == "/jax/core/compile/backend_compile_duration":
                found.append(now.advanced)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            fit(READER, task, config, tmp_path, stopping=stopping, progress=progress)
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
        assert counted == [(number, 7, False) for number in range(1, 8)]
        assert compiled.count(False) >= 7 and True not in compiled
    assert [row["step"] for row in rows_of(tmp_path, "validation") if "bleu" in row] == [4] * lanes + [8] * lanes


def test_what_comes_after_the_first_steps_is_compiled_while_they_run(parts, tmp_path, monkeypatch):
    model, task, config = parts({"train.num_steps": 4, "train.beta2": 0.985})  # programs of this test alone
    progress, seen = Progress(), []
    progress.compiling = lambda number, count: seen.append(f"compiling {number} of {count}")
    for name, said in (("_run", "steps begin"), ("_wait", "steps are waited for")):
        called = getattr(loop, name)
        monkeypatch.setattr(loop, name, lambda *args, called=called, said=said: seen.append(said) or called(*args))
    assert fit(model, task, config, tmp_path, progress=progress).status == "done"
    assert seen[:4] == ["compiling 1 of 2", "steps begin", "compiling 2 of 2", "steps are waited for"]
    assert seen[4:] == ["steps begin", "steps are waited for"]


def test_a_run_whose_task_makes_another_file_is_refused_before_a_step(parts, tmp_path):
    model, task, config = parts({"train.num_steps": 8})
    task.files = {"tokenizer.json": b"one"}
    assert fit(model, task, config, tmp_path, stopping=stop_after(2)).step == 4
    before = (tmp_path / "metrics.jsonl").read_bytes()
    task.files = {"tokenizer.json": b"other"}
    with pytest.raises(
        ConfigError, match=f"{tmp_path} was trained with another tokenizer.json than its task now makes"
    ):
        fit(model, task, config, tmp_path)
    (tmp_path / "tokenizer.json").unlink()  # the checkpoint knows it all the same
    with pytest.raises(ConfigError, match="another tokenizer.json"):
        fit(model, task, config, tmp_path)
    assert not (tmp_path / "tokenizer.json").exists() and (tmp_path / "metrics.jsonl").read_bytes() == before
    task.files = {"tokenizer.json": b"one"}
    assert fit(model, task, config, tmp_path).status == "done"
    assert (tmp_path / "tokenizer.json").read_bytes() == b"one"


def test_a_best_that_the_task_does_not_know_leaves_no_folder(parts, tmp_path):
    model, task, config = parts({"train.best": "accurcy"})
    with pytest.raises(ConfigError, match="train.best='accurcy' .*; did you mean accuracy"):
        fit(model, task, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_examples_of_one_shape_are_stacked_into_chunks(parts, tmp_path, monkeypatch):
    every = dict.fromkeys(("train.num_steps", "train.eval_every", "train.checkpoint_every"), 5)
    _, task, config = parts(every | {"train.chunk_steps": 3})
    task = of_two_sequences(task)
    drawn, evaluated = task.examples()
    monkeypatch.setitem(globals(), "LENGTHS", (LENGTHS[0],) * 3)
    task.examples = lambda: (drawn[:1], evaluated[:1])
    progress, counted = Progress(), []
    progress.compiling = lambda *numbers: counted.append(numbers)
    assert fit(READER, task, config, tmp_path, progress=progress).status == "done"
    assert counted == [(1, 3), (2, 3), (3, 3)]  # chunks of two steps and of three, and the evaluation


def test_another_metric_chooses_the_best(parts, tmp_path):
    model, task, config = parts({"train.best": "loss"})
    task.objective = task.objective._replace(best=("accuracy", "max"), choices=(("loss", "max"),))
    fit(model, task, config, tmp_path)
    losses = {row["step"]: row["loss"] for row in rows_of(tmp_path, "validation")}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.find("best") == max(losses, key=losses.get) == 4  # training lowers it
    assert checkpoints.meta(4)["score"] == losses[4]


@pytest.mark.parametrize("poisoned", [{7}, {7, 11}])
def test_a_rollback_leaves_the_average_of_an_unbroken_run(parts, tmp_path, poisoned):
    model, task, config = parts({"train.nan_policy": "rollback", "train.keep_last": 3, "train.num_steps": 20}, poisoned)
    assert fit(model, task, config, tmp_path / "whole").status == "done"
    while fit(model, task, config, tmp_path / "pieces", stopping=stop_after(3)).status != "done":
        pass
    found = [averaged(tmp_path / name, model, config) for name in ("whole", "pieces")]
    assert [steps for steps, _ in found] == [[12, 16, 20]] * 2
    assert np.array_equal(*(params["kernel"] for _, params in found))


def test_an_objective_of_its_own_is_trained_reported_and_chosen_by(parts, tmp_path):
    """Metrics that are no means, floats as targets, and a best that is the highest."""
    model, task, config = parts()

    def terms(outputs, batch):
        weight = batch["weights"].sum()
        error = ((outputs.mean(-1) - batch["targets"]) ** 2 * batch["weights"]).sum()
        return (error, weight), {"square": (error, weight)}

    def as_numbers(batch):
        return batch | {"targets": batch["targets"].astype(np.float32) / 7}

    class Numbers:
        def __init__(self, seed):
            self.stream = task.train(seed)
            self.get_state, self.set_state = self.stream.get_state, self.stream.set_state

        def __next__(self):
            return as_numbers(next(self.stream))

    def finish(means):
        return means | {"root": means["square"] ** 0.5}

    numeric = SimpleNamespace(
        train=Numbers,
        evaluate=lambda split: map(as_numbers, task.evaluate(split)),
        objective=Objective(terms, finish=finish, best=("root", "max")),
        describe=dict,
        vectors=None,
        files={},
        examples=None,
    )
    assert fit(model, numeric, config, tmp_path).status == "done"
    for split in ("train", "validation"):
        assert all(row["root"] == row["square"] ** 0.5 for row in rows_of(tmp_path, split))
    roots = {row["step"]: row["root"] for row in rows_of(tmp_path, "validation")}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.find("best") == max(roots, key=roots.get) == 4  # training lowers it


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(1, 4))
def test_chunks_depend_on_nothing_but_where_they_begin(num_steps, chunk_steps, eval_every, multiple):
    checkpoint_every = eval_every * multiple
    train = TrainConfig(
        num_steps=num_steps, chunk_steps=chunk_steps, eval_every=eval_every, checkpoint_every=checkpoint_every
    )
    ends, step = [], 0
    while step < num_steps:
        after = next_stop(step, train)
        assert step < after <= step + chunk_steps
        ends.append(after)
        step = after
    due = {s for n in (eval_every, checkpoint_every) for s in range(n, num_steps, n)} | {num_steps}
    assert due <= set(ends)
    assert len({end - begin for begin, end in itertools.pairwise([0, *ends])}) <= 3  # each is compiled for


@pytest.mark.parametrize(
    ("chunk_steps", "eval_every", "lengths"),
    [(20, 250, {10}), (20, 65, {13}), (20, 350, {14}), (20, 8, {8}), (20, 23, {20, 3}), (1, 5, {1})],
)
def test_chunks_have_one_length_where_one_divides_the_evaluations(chunk_steps, eval_every, lengths):
    often = {"eval_every": eval_every, "checkpoint_every": eval_every}
    train = TrainConfig(num_steps=4 * eval_every, chunk_steps=chunk_steps, **often)
    found, step = set(), 0
    while step < train.num_steps:
        found.add(next_stop(step, train) - step)
        step = next_stop(step, train)
    assert found == lengths
