"""What happens to a checkpoint that is killed, damaged, of another model or of another machine."""

import errno
import json
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from transformer_jax.config import ConfigError
from transformer_jax.host import provenance
from transformer_jax.train import checkpoint, leaves
from transformer_jax.train.checkpoint import CheckpointError, Checkpoints
from transformer_jax.train.manifest import NAME as MANIFEST


def state_of(value):
    return {"params": {"w": jnp.full((3, 5), value), "b": jnp.arange(4.0)}, "key": jax.random.key(7)}


TARGET = jax.eval_shape(lambda: state_of(0.0))


def save(folder, scores):
    with Checkpoints(folder) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, state_of(float(step)), meta={"data": [step]}, score=score)
        checkpoints.wait()
    return checkpoints


def test_round_trip(tmp_path):
    state, meta = save(tmp_path, {3: 1.5}).restore(3, TARGET)
    assert jax.tree.map(lambda a, b: np.array_equal(a, b), state["params"], state_of(3.0)["params"])
    assert np.array_equal(jax.random.key_data(state["key"]), jax.random.key_data(jax.random.key(7)))
    assert np.all(state["params"]["w"] == 3) and meta["data"] == [3] and meta["score"] == 1.5


def test_the_newest_and_the_best_are_kept(tmp_path):
    checkpoints = save(tmp_path, {1: -3.0, 2: -1.0, 3: -2.0})
    assert checkpoints.steps() == [2, 3]
    checkpoints = save(tmp_path, {4: -1.5, 5: None})  # a new process still knows which was best
    assert checkpoints.steps() == [2, 5] and checkpoints.find("best") == 2 and checkpoints.find("latest") == 5
    assert save(tmp_path, {6: -0.5}).steps() == [6]


def test_the_last_regular_ones_are_kept_whatever_stops_saved_between(tmp_path):
    """Steps that 4 divides: as many as in an unbroken run, which saves nothing at 18 and 19."""

    def train(folder, scores):
        with Checkpoints(folder, keep_last=3, every=4) as checkpoints:
            for step, score in scores.items():
                checkpoints.save(step, state_of(float(step)), meta={}, score=score)
                checkpoints.wait()
        return checkpoints

    for folder in (tmp_path / "whole", tmp_path / "pieces"):
        kept = train(folder, {4: 5.0, 8: 1.0, 12: 2.0, 16: 3.0})
        assert kept.steps() == [4, 8, 12, 16] and kept.regular() == [8, 12, 16]  # 4 is the best
    stopped = train(tmp_path / "pieces", {18: None})
    assert stopped.steps() == [4, 8, 12, 16, 18] and stopped.regular() == [8, 12, 16]
    assert train(tmp_path / "pieces", {19: None}).steps() == [4, 8, 12, 16, 19]
    for folder in (tmp_path / "whole", tmp_path / "pieces"):
        assert train(folder, {20: 4.0}).steps() == [4, 12, 16, 20]
    stopped = train(tmp_path / "pieces", {22: None})
    stopped.remove_between()
    assert stopped.steps() == [4, 12, 16, 20]


@struct.dataclass
class State:
    params: dict
    step: jax.Array


def test_the_average_is_that_of_the_parameters_of_the_last_regular_ones(tmp_path):
    """Against NumPy in float64; in float32 a small number would be lost beside a large one."""
    values = {2: 1e8, 4: 1.0, 5: 9.0, 6: 3.0, 8: -1e8, 9: 7.0}
    target = jax.eval_shape(lambda: State({"w": jnp.zeros((3, 5)), "b": jnp.zeros(2, jnp.bfloat16)}, jnp.zeros(())))
    with Checkpoints(tmp_path, keep_last=3, every=2) as checkpoints:
        for step, value in values.items():
            params = {"w": jnp.full((3, 5), value), "b": jnp.arange(2, dtype=jnp.bfloat16) * step}
            checkpoints.save(step, State(params, jnp.full((), float(step))), meta={}, score=float(-step))
    assert checkpoints.steps() == [2, 4, 6, 8, 9]  # the best, the last three, and that of a stop
    steps, params = checkpoints.restore_average(target)
    assert steps == [4, 6, 8] and jax.tree.map(lambda leaf: leaf.dtype, params) == {"w": "float32", "b": "bfloat16"}
    np.testing.assert_array_equal(params["w"], np.full((3, 5), np.float32(np.mean([1.0, 3.0, -1e8]))))
    np.testing.assert_array_equal(params["b"].astype(np.float32), [0, 6])
    (tmp_path / "6" / "meta" / "metadata").write_text("{}")
    with pytest.raises(CheckpointError, match="checkpoint 6 is damaged"):
        checkpoints.restore_average(target)


def test_nothing_to_average(tmp_path):
    save(tmp_path, {3: 1.0})
    with pytest.raises(ConfigError, match="no checkpoint of a step that train.checkpoint_every=2 divides"):
        Checkpoints(tmp_path, keep_last=2, every=2).restore_average(TARGET)
    with pytest.raises(ConfigError, match="latest, best, average or a step, not 'averge'; did you mean average?"):
        Checkpoints(tmp_path).find("averge")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_never_best(tmp_path, bad):
    checkpoints = save(tmp_path, {1: bad, 2: -4.0, 3: bad})
    assert checkpoints.steps() == [2, 3] and checkpoints.find("best") == 2


def test_without_a_best_the_latest_is_taken(tmp_path):
    assert save(tmp_path, {1: None, 2: None}).find("best") == 2
    with pytest.raises(ConfigError, match="holds no checkpoint '7': latest, best or one of 2"):
        Checkpoints(tmp_path).find("7")


def test_a_flipped_byte_in_any_file_is_found_and_named(tmp_path):
    checkpoints = save(tmp_path, {1: 1.0})
    names = list(json.loads((tmp_path / "1" / MANIFEST).read_text()))
    assert len(names) >= 8
    for name in names:
        path = tmp_path / "1" / name
        whole = path.read_bytes()
        for damaged in (bytes([whole[0] ^ 1]) + whole[1:] if whole else b"x", whole[:-1] if whole else b"xx"):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=f"checkpoint 1 is damaged: {name} was changed"):
                checkpoints.restore(1, TARGET)
        path.unlink()
        with pytest.raises(CheckpointError, match=f"{name} is missing"):
            checkpoints.restore(1, TARGET)
        path.write_bytes(whole)
    checkpoints.restore(1, TARGET)


def test_a_flipped_byte_does_not_make_another_step_the_best(tmp_path):
    checkpoints = save(tmp_path, {1: 1.25, 2: 1.0})
    assert checkpoints.steps() == [1, 2] and checkpoints.find("best") == 1
    path = tmp_path / "1" / "meta" / "metadata"
    for whole, flipped in ((b"1.25", b"0.25"), (b'"score"', b'"scorf"')):
        before = path.read_bytes()
        assert whole in before
        path.write_bytes(before.replace(whole, flipped))
        with pytest.raises(CheckpointError, match="checkpoint 1 is damaged: meta/metadata was changed"):
            checkpoints.find("best")
        path.write_bytes(before)
    for manifest in ("{}", "[]"):
        (tmp_path / "1" / MANIFEST).write_text(manifest)
        with pytest.raises(CheckpointError, match="checkpoint 1 is damaged: manifest.json cannot be read"):
            checkpoints.find("best")


def test_without_a_manifest_nothing_is_believed(tmp_path):
    checkpoints = save(tmp_path, {1: 1.0})
    (tmp_path / "1" / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="manifest.json cannot be read"):
        checkpoints.restore(1, TARGET)


def test_an_older_checkpoint_is_used_only_when_allowed(tmp_path):
    checkpoints, notes = save(tmp_path / "c", {1: 2.0, 2: 1.0}), []
    (tmp_path / "c" / "2" / "meta" / "metadata").write_text("{}")
    with pytest.raises(CheckpointError, match="checkpoint 2 is damaged.*--allow-fallback goes on from checkpoint 1"):
        checkpoints.restore_newest(TARGET)
    _, meta = checkpoints.restore_newest(TARGET, allow_fallback=True, note=notes.append)
    assert meta["data"] == [1] and checkpoints.steps() == [1]
    assert len(notes) == 1 and "checkpoint 2 is damaged" in notes[0] and "damaged-checkpoint-2" in notes[0]
    assert (tmp_path / "damaged-checkpoint-2" / "state").is_dir()
    assert save(tmp_path / "c", {2: 3.0}).steps() == [2]  # the step that was damaged can be saved again


@pytest.mark.parametrize("allow_fallback", [False, True])
def test_where_no_checkpoint_is_whole_all_stay_where_they_are(tmp_path, allow_fallback):
    """A launch after this one would else begin at step 0, and say nothing of it."""
    checkpoints, notes = save(tmp_path / "c", {1: 2.0, 2: 1.0}), []
    for step in (1, 2):
        (tmp_path / "c" / str(step) / MANIFEST).write_text("garbage")
    assert checkpoints.whole() == []
    with pytest.raises(CheckpointError, match="c: checkpoint 2 is damaged: .* no older one to go on from: .*--out"):
        checkpoints.restore_newest(TARGET, allow_fallback, note=notes.append)
    assert checkpoints.steps() == [1, 2] and [path.name for path in tmp_path.iterdir()] == ["c"] and not notes


def test_another_model_is_named_leaf_by_leaf(tmp_path):
    checkpoints = save(tmp_path, {1: 1.0})
    other = jax.eval_shape(lambda: {"params": {"w": jnp.zeros((5, 3)), "c": jnp.zeros(4)}, "key": jax.random.key(0)})
    with pytest.raises(CheckpointError) as error:
        checkpoints.restore(1, other)
    for part in (
        "missing: params/c",
        "not in the model: params/b",
        "of another shape: params/w float32[3, 5], the model has float32[5, 3]",
    ):
        assert part in str(error.value)


def test_of_many_differences_the_first_are_named():
    wanted = {f"w{i}": "float32[3]" for i in range(9)}
    assert leaves.differences({}, wanted) == ["missing: w0, w1, w2 and 6 more"]
    assert leaves.differences(wanted, wanted) == []


@pytest.mark.parametrize(
    ("written", "why"), [(1, "an earlier version of this code: train again"), (3, "a later version of this code")]
)
def test_another_format_is_refused_before_anything_is_read(tmp_path, monkeypatch, written, why):
    with monkeypatch.context() as then:
        then.setattr(checkpoint, "FORMAT", written)
        checkpoints = save(tmp_path, {1: 1.0})
    for read in (lambda: checkpoints.restore(1, TARGET), lambda: checkpoints.find("best")):
        with pytest.raises(CheckpointError, match=f"checkpoint 1 has format {written}, this code reads 2: .*{why}"):
            read()


def test_other_versions_withdraw_the_promise(tmp_path, monkeypatch):
    checkpoints = save(tmp_path, {1: 1.0})
    monkeypatch.setattr(checkpoint, "versions", lambda: dict.fromkeys(provenance.versions(), "99"))
    with pytest.warns(UserWarning, match=r"was written with .*jax .*\(now 99\).*need not be bit-identical"):
        checkpoints.restore(1, TARGET)


def polled(checkpoints):
    """As the loop asks, which does not wait."""
    began = time.monotonic()
    while time.monotonic() < began + 60:
        checkpoints.check()
        time.sleep(0.01)


def test_a_reader_does_not_disturb_a_save(tmp_path, monkeypatch):
    """`evaluate` on the folder of a run that is just saving, and just removing the step that was best."""
    save(tmp_path, {1: 2.0, 2: 1.0})
    written, reached, go_on = Checkpoints._write_manifest, threading.Event(), threading.Event()

    def stalled(self):
        reached.set()
        assert go_on.wait(60)
        written(self)

    monkeypatch.setattr(Checkpoints, "_write_manifest", stalled)
    with Checkpoints(tmp_path) as writer:
        writer.save(3, state_of(3.0), meta={}, score=3.0)
        assert reached.wait(60)
        reader = Checkpoints(tmp_path)
        assert reader.find("best") == 1 and reader.find("latest") == 2
        reader.restore(2, TARGET)
        go_on.set()
    assert reader.steps() == [3] and [path.name for path in tmp_path.iterdir()] == ["3"]
    monkeypatch.setattr(Checkpoints, "meta", removed_meanwhile)
    assert reader.best() is None


def removed_meanwhile(self, step):
    shutil.rmtree(self.folder / str(step))
    raise CheckpointError("gone")


def test_killed_while_an_old_step_is_removed(tmp_path, monkeypatch):
    """A step is there whole or not at all: it goes in one rename."""
    save(tmp_path, {1: 1.0})
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda path, ignore_errors=False: None)
    checkpoints = save(tmp_path, {2: 2.0})
    assert checkpoints.steps() == [2] and (tmp_path / "removed" / "1" / MANIFEST).is_file()
    (tmp_path / "removed" / "1" / MANIFEST).unlink()
    monkeypatch.undo()
    assert save(tmp_path, {3: 3.0}).steps() == [3]
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_a_save_that_fails_later_is_not_believed_and_is_reported(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state_of(1.0), meta={}, score=1.0)
    checkpoints.wait()

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_write_manifest", full)
    for ask in (Checkpoints.wait, polled):
        other = Checkpoints(tmp_path).__enter__()
        other.save(2, state_of(2.0), meta={}, score=2.0)
        with pytest.raises(OSError, match="No space left"):
            ask(other)
        assert other.steps() == [1]
    monkeypatch.undo()
    assert save(tmp_path, {2: 2.0}).steps() == [2]


KILLED_WHILE_SAVING = """if True:
    import sys, time
    from pathlib import Path
    import jax.numpy as jnp
    from transformer_jax.train.checkpoint import Checkpoints
    def state(value):
        return {"w": jnp.full((3, 5), value)}
    checkpoints = Checkpoints(Path(sys.argv[1]))
    checkpoints.save(1, state(1.0), meta={}, score=1.0)
    checkpoints.wait()
    if sys.argv[2] == "before":
        Checkpoints._write_manifest = lambda self: time.sleep(600)
    else:
        written = Checkpoints._write_manifest
        Checkpoints._write_manifest = lambda self: (written(self), print("now", flush=True), time.sleep(600))
    other = Checkpoints(Path(sys.argv[1]))
    other.save(2, state(2.0), meta={}, score=0.5)
    print("saving", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_in_the_middle_of_a_save(tmp_path, moment):
    """Before and after the manifest is written; in both cases before the rename that commits."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path), moment], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() in ("saving\n", "now\n")
    while not list(tmp_path.glob("2.orbax-checkpoint-tmp*/*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Checkpoints(tmp_path) as checkpoints:
        assert [path.name for path in tmp_path.iterdir()] == ["1"]
        state, _ = checkpoints.restore_newest(jax.eval_shape(lambda: {"w": jnp.zeros((3, 5))}))
        assert np.all(state["w"] == 1)
        checkpoints.save(2, {"w": jnp.full((3, 5), 2.0)}, meta={}, score=2.0)
    assert checkpoints.steps() == [2]


ON_EIGHT_DEVICES = """if True:
    import sys
    from pathlib import Path
    import jax
    jax.config.update("jax_num_cpu_devices", 8)
    import jax.numpy as jnp, numpy as np
    from transformer_jax.train.checkpoint import Checkpoints
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    checkpoints = Checkpoints(Path(sys.argv[1]))
    if sys.argv[2] == "save":
        w = jax.device_put(jnp.arange(16.0).reshape(16, 1), spread)
        checkpoints.save(1, {"w": w}, meta={}, score=1.0)
        checkpoints.wait()
    else:
        target = {"w": jax.ShapeDtypeStruct((16, 1), jnp.float32, sharding=spread)}
        w = checkpoints.restore(1, target)[0]["w"]
        assert w.sharding == spread and len(w.sharding.device_set) == 8
        assert np.array_equal(w[:, 0], np.arange(16.0))
"""


def test_another_number_of_devices(tmp_path):
    def run(folder, what):
        subprocess.run([sys.executable, "-c", ON_EIGHT_DEVICES, str(folder), what], check=True)

    run(tmp_path / "eight", "save")
    target = {"w": jax.ShapeDtypeStruct((16, 1), jnp.float32)}
    state, _ = Checkpoints(tmp_path / "eight").restore(1, target)
    assert np.array_equal(state["w"][:, 0], np.arange(16.0)) and len(state["w"].sharding.device_set) == 1
    with Checkpoints(tmp_path / "one") as checkpoints:
        checkpoints.save(1, state, meta={}, score=1.0)
    run(tmp_path / "one", "restore")
