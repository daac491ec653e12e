"""A stream of tasks in its folder: killed in the middle of a task, refused in another order, and read as rows."""

import shutil
from itertools import pairwise
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from transformer_jax.config import ConfigError, ModelConfig, TaskConfig, TrainConfig, with_overrides
from transformer_jax.config.continual import ContinualConfig, StreamConfig
from transformer_jax.continual import streams as tasks_of
from transformer_jax.lab import streams
from transformer_jax.tasks import images
from transformer_jax.train.checkpoint import CheckpointError
from transformer_jax.train.progress import Progress

CONFIG = StreamConfig(
    ModelConfig(d_model=8, num_heads=2, num_layers=1, mlp_dim=8, max_len=4, causal=False, attention="reference",
                scan_layers=False),
    TaskConfig(name="digits", seq_len=4, patch_rows=1, batch_size=4),
    TrainConfig(num_steps=4, chunk_steps=2, eval_every=2, checkpoint_every=4, lanes=3, peak_lr=1e-2, weight_decay=0.0),
    continual=ContinualConfig(num_tasks=3, scenario="task", strengths=(0.0, 1e4), with_frozen=True),
)  # fmt: skip


def load(split, at_most):
    random = np.random.default_rng(len(split))
    labels = (np.arange({"train": 24, "validation": 6, "test": 12}[split]) % 6).astype(np.int32)
    pixels = random.integers(0, 99, (len(labels), 4, 4, 1)) + 25 * labels[:, None, None, None]
    return pixels.astype(np.uint8)[:at_most], labels[:at_most]


def learned(folder, overrides=None, **more):
    config = with_overrides(CONFIG, overrides or {})
    stream = tasks_of.build(config, images.build(config, load, 6, dict))
    return config, stream, streams.train(config, stream, folder, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "whole"
    return folder, *learned(folder)


def after(folder, config, stream, k):
    """Every number of the state in which a task ended."""
    state = streams._Learner.of(config, stream, folder).after(k)
    return jax.tree.map(np.asarray, state.replace(key=jax.random.key_data(state.key)))


def test_a_stream_is_learned_and_lanes_are_what_they_are_said_to_be(whole):
    folder, config, stream, ended = whole
    assert ended == ("done", 2)
    first, last = (after(folder, config, stream, k) for k in (0, 2))
    assert list(last.anchor["task"]) == [2, 2, 2] and list(last.anchor["strength"]) == [0, 1e4, 0]
    assert max(leaf.max() for leaf in jax.tree.leaves(last.anchor["importance"])) > 0

    def way(lane):
        moved = jax.tree.map(lambda a, b: np.abs(a[lane] - b[lane]).sum(), first.params, last.params)
        return sum(jax.tree.leaves(moved))

    assert way(2) == 0 and 0 < way(1) < way(0)  # frozen; drawn; free
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf[0], leaf[1]), first.params)  # nothing drew them yet


def test_rows(whole):
    folder, config, stream, _ = whole
    rows = streams.rows(config, stream, folder)
    assert [(row["seed"], row["strength"], row["frozen"]) for row in rows] == [
        (0, 0.0, False), (0, 1e4, False), (0, None, True)]  # fmt: skip
    found = streams.matrix(config, stream, folder, "test")
    assert found.R_NxKxK.shape == (3, 3, 3) and found.untrained_NxK.shape == (3, 3)
    for row, R in zip(rows, found.R_NxKxK, strict=True):
        assert row["average_accuracy"] == pytest.approx(R[-1].mean())
        assert 0 <= row["worst_accuracy"] <= 1 and row["protected"] == rows[0]["protected"]
    assert rows[2]["drift"] == 0 and rows[2]["forgetting"] == 0 and rows[0]["drift"] > rows[1]["drift"] > 0


def test_each_state_chooses_among_the_answers_until_then(tmp_path):
    seen = {"continual.scenario": "class", "continual.answers": "seen", "continual.num_tasks": 2}
    steps = {"train.num_steps": 40, "train.chunk_steps": 20, "train.eval_every": 20, "train.checkpoint_every": 40}
    config, stream, _ = learned(tmp_path, seen | steps)
    R_NxKxK = streams.matrix(config, stream, tmp_path, "test").R_NxKxK
    assert (R_NxKxK[:, 0, 1] == 0).all()  # its answers cannot be given yet
    assert (R_NxKxK[0, [0, 1], [0, 1]] > 0).all()  # its own can, and at the end all


def test_the_next_task_compiles_nothing_anew(tmp_path):
    """The second task compiles what makes a Fisher, but no step; the third nothing at all, not even from a cache."""
    compiled, at = [], []

    def listen(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        learned(tmp_path, {"train.peak_lr": 0.02}, progress=lambda k: at.append(len(compiled)))
        at.append(len(compiled))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    first, second, third = (compiled[begin:end] for begin, end in pairwise(at))
    assert any("run_chunk" in name for name in first) and not any("run_chunk" in name for name in second)
    assert not third


def test_a_task_goes_on_from_an_older_checkpoint_where_that_is_allowed(tmp_path):
    """As the error of a damaged one says; what comes out is what came out before."""
    twice = {"train.num_steps": 8, "train.keep_last": 2, "continual.num_tasks": 2}
    config, stream, _ = learned(tmp_path, twice)
    before = after(tmp_path, config, stream, 1)
    (tmp_path / "task_1" / "checkpoints" / "8" / "manifest.json").write_text("garbage")
    with pytest.raises(CheckpointError, match="checkpoint 8 is damaged: .*--allow-fallback goes on from checkpoint 4"):
        learned(tmp_path, twice)
    with pytest.raises(CheckpointError, match="task_1: checkpoint 8 is damaged.*repeated with --allow-fallback"):
        after(tmp_path, config, stream, 1)
    assert learned(tmp_path, twice, allow_fallback=True)[2] == ("done", 1)
    jax.tree.map(np.testing.assert_array_equal, after(tmp_path, config, stream, 1), before)


def test_the_optimizer_begins_anew_or_goes_on(whole):
    folder, config, stream, _ = whole
    learner = streams._Learner.of(config, stream, folder)
    kept = learner._replace(config=SimpleNamespace(
        train=config.train, strengths=config.strengths, seeds=config.seeds,
        continual=SimpleNamespace(**vars(config.continual) | {"keep_optimizer": True}),
    ))  # fmt: skip
    before, state = learner.after(0), learner.run.init()
    for one, expected in ((learner, state), (kept, before)):
        jax.tree.map(np.testing.assert_array_equal, one.begin(1, state).opt_state[1:], expected.opt_state[1:])
    with pytest.raises(ConfigError, match="the moments of the first task would move what is frozen"):
        with_overrides(config, {"continual.keep_optimizer": True})


class Broken(Progress):
    """Ends the process, as a power cut does, in a task's second chunk."""

    def advance(self, step, lanes):
        super().advance(step, lanes)
        raise KeyboardInterrupt


def test_a_stream_that_is_killed_in_the_middle_of_a_task_ends_bit_for_bit_as_an_unbroken_one(whole, tmp_path):
    folder, config, stream, _ = whole
    for k in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            learned(tmp_path, progress=lambda j, k=k: Broken() if j == k else None)
    stopped = iter([False, True])
    assert learned(tmp_path, stopping=lambda: next(stopped, True))[2] == ("stopped", 1)
    with pytest.raises(ConfigError, match="task 1 was not learned to its end: .* step 2 of 4; repeat the command"):
        streams.matrix(config, stream, tmp_path, "test")
    assert learned(tmp_path)[2] == ("done", 2)
    for k in range(3):
        one, other = after(folder, config, stream, k), after(tmp_path, config, stream, k)
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_answers_are_kept_by_lanes_and_go_on_bit_for_bit(tmp_path):
    """LwF: strengths are lanes, and a stream that is killed in its last task ends as an unbroken one."""
    lwf = {"continual.method": "lwf", "continual.num_tasks": 2, "continual.strengths": (0.0, 50.0)}
    config, stream, _ = learned(tmp_path / "whole", lwf)
    with pytest.raises(KeyboardInterrupt):
        learned(tmp_path / "killed", lwf, progress=lambda j: Broken() if j == 1 else None)
    assert learned(tmp_path / "killed", lwf)[2] == ("done", 1)
    one, other = (after(tmp_path / name, config, stream, 1) for name in ("whole", "killed"))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    free, drawn, frozen = (jax.tree.map(lambda leaf, i=i: leaf[i], one.params) for i in range(3))
    batch = next(stream.examples(0))
    start = jax.tree.map(lambda leaf: leaf[2], after(tmp_path / "whole", config, stream, 0).params)
    model = streams._Learner.of(config, stream, tmp_path / "whole").model
    old, *new = (model.apply(p, batch["inputs"]) for p in (start, free, drawn, frozen))
    moved = [float(np.abs(np.asarray(x - old)[:, :2]).mean()) for x in new]
    assert moved[2] == 0 and moved[1] < moved[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"continual.order": (0, 2, 1)}, r"holds a run of another config \(continual.order"),
        ({"continual.strengths": (0.0, 2.0)}, "another config"),
        ({"train.num_steps": 8}, "none can be extended; choose another --out"),
        ({"model.d_model": 16}, "model.d_model 8 there, 16 here"),
    ],
)
def test_another_stream_in_the_folder_is_refused(whole, tmp_path, overrides, message):
    shutil.copy(whole[0] / "config.json", tmp_path)
    with pytest.raises(ConfigError, match=message):
        learned(tmp_path, overrides)


def test_a_part_that_matches_nothing_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="continual.part=mpl matches no parameter: the parts there are all, mixer"):
        learned(tmp_path / "none", {"continual.part": "mpl"})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("method", ["si", "mas", "l2", "lwf", "replay", "frozen"])
def test_other_methods_learn_it_too(tmp_path, method):
    alone = {"continual.num_tasks": 2, "continual.strengths": (), "continual.with_frozen": False, "train.lanes": 1}
    part = "all" if method == "lwf" else "query_key"
    config, stream, ended = learned(tmp_path, alone | {"continual.method": method, "continual.part": part})
    assert ended == ("done", 1)
    (row,) = streams.rows(config, stream, tmp_path)
    assert row["frozen"] == (method == "frozen") and (row["importance"] > 0) == (method != "none")
