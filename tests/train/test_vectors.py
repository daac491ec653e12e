"""Training from word vectors: what the network reads, what is frozen to the bit, stops, lanes and a changed file."""

import itertools
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from transformer_jax.config import ConfigError, ModelConfig, Shape
from transformer_jax.lab import trial
from transformer_jax.layers.embedding import Embedding
from transformer_jax.tasks.vectors import WordVectors
from transformer_jax.train import programs, vectors
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.loop import fit
from transformer_jax.train.progress import Progress

WORDS = [None, "a", "b", "c", "d", "e", "f"]
QUICK = {"train.num_steps": 4, "train.eval_every": 2, "train.checkpoint_every": 2, "train.weight_decay": 0.5}


def file_of(path, seed=0, width=8):
    rows = np.random.default_rng(seed).normal(size=(5, width))
    path.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in zip("abcde", rows, strict=True)))
    return path


@pytest.fixture
def worded(parts, tmp_path):
    """worded(frozen=..., **overrides) -> (model, task, config): `parts` with its own model, from word vectors."""

    def make(overrides=None, frozen=True):
        _, task, config = parts(QUICK | (overrides or {}), real=True)
        path = tmp_path / "vectors.txt"
        task = SimpleNamespace(**vars(task) | {
            "vectors": WordVectors(str(path if path.exists() else file_of(path)), WORDS, frozen),
            "name": "worded", "next_token": True,
        })  # fmt: skip
        return trial.build_model(config, task), task, config

    return make


def saved(folder, model, task, config):
    checkpoints = Checkpoints(folder / "checkpoints")
    run = programs.build(model, task.objective, config.train)
    return checkpoints.restore(checkpoints.find("latest"), jax.eval_shape(run.init))[0]


def rows_of(state):
    return np.asarray(state.params["embedding"]["token"]["embedding"])


def bits(state):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(state.replace(key=jax.random.key_data(state.key)))]


def test_the_network_reads_a_word_as_its_vector(worded):
    model, task, config = worded()
    params = vectors.placed(jax.jit(model.init)(jax.random.key(0)), task.vectors)
    embedding = Embedding(7, config.model.d_model, 16, "none")
    x_1xLxD = embedding.apply({"params": params["embedding"]}, np.arange(7)[None], np.arange(7))
    np.testing.assert_allclose(x_1xLxD[0], task.vectors.table_VxW, rtol=1e-6)
    rest = jax.tree.map(np.array_equal, params, jax.jit(model.init)(jax.random.key(0)))
    assert [value for value in jax.tree.leaves(rest) if not value] == [False]  # nothing else was changed


def test_a_frozen_table_is_the_same_to_the_bit_and_the_rest_is_trained(worded, tmp_path):
    model, task, config = worded()
    start = vectors.placed(programs.build(model, task.objective, config.train).init().params, task.vectors)
    assert fit(model, task, config, tmp_path / "run").status == "done"
    state = saved(tmp_path / "run", model, task, config)
    assert rows_of(state).tobytes() == np.asarray(start["embedding"]["token"]["embedding"]).tobytes()
    same = jax.tree.map(lambda one, other: np.array_equal(one, other), start, state.params)
    assert [jax.tree_util.keystr(p) for p, same in jax.tree_util.tree_leaves_with_path(same) if same] == [
        "['embedding']['token']['embedding']"
    ]
    moments = [leaf.shape for leaf in jax.tree.leaves(state.opt_state)]
    assert (7, 8) not in moments  # nor does it cost an optimizer's state


def test_a_table_that_is_not_frozen_is_trained(worded, tmp_path):
    model, task, config = worded(frozen=False)
    start = vectors.placed(programs.build(model, task.objective, config.train).init().params, task.vectors)
    fit(model, task, config, tmp_path / "run")
    state = saved(tmp_path / "run", model, task, config)
    assert not np.array_equal(rows_of(state), start["embedding"]["token"]["embedding"])


def test_a_frozen_table_has_no_part_in_the_gradients_norm(worded):
    model, task, config = worded()
    run = programs.build(model, task.objective, config.train)
    state = run.init()
    state = state.replace(params=vectors.placed(state.params, task.vectors))
    batch = next(task.train(0))
    _, metrics = run.run_chunk(state, {name: array[None] for name, array in batch.items()})
    state = run.init()
    state = state.replace(params=vectors.placed(state.params, task.vectors))

    def loss(params):
        key = jax.random.fold_in(state.key, 0)
        logits = model.apply(params, batch["inputs"], train=True, key=key)
        (total, weight), _ = task.objective.terms(logits, batch)
        return total / weight

    grads = jax.jit(jax.grad(loss))(state.params)
    assert np.abs(grads["embedding"]["token"].pop("embedding")).max() > 0
    norm = np.sqrt(sum(float(np.sum(np.square(leaf))) for leaf in jax.tree.leaves(grads)))
    assert float(metrics["grad_norm"][0][0]) == pytest.approx(norm, rel=1e-4)


def test_stopped_after_every_chunk_or_never(worded, tmp_path):
    model, task, config = worded({"train.chunk_steps": 1})
    fit(model, task, config, tmp_path / "whole")
    status = None
    while status != "done":
        asked = itertools.count()
        status = fit(model, task, config, tmp_path / "parts", stopping=lambda c=asked: next(c) > 0).status
    one, other = (saved(tmp_path / name, model, task, config) for name in ("whole", "parts"))
    assert bits(one) == bits(other)
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "parts/metrics.jsonl").read_bytes()


def test_each_lane_has_them(worded, tmp_path):
    model, task, config = worded({"train.lanes": 2})
    fit(model, task, config, tmp_path / "run")
    first, second = rows_of(saved(tmp_path / "run", model, task, config))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first * np.sqrt(8), task.vectors.table_VxW, rtol=1e-6)


def test_a_run_does_not_go_on_with_another_file(worded, tmp_path):
    model, task, config = worded()
    notes, folder = [], tmp_path / "run"

    class Noting(Progress):
        def note(self, text):
            notes.append(text)

    asked = itertools.count()
    fit(model, task, config, folder, stopping=lambda: next(asked) > 0, progress=Noting())
    assert notes == [task.vectors.text()] and "5 of the vocabulary's 6 words" in notes[0]
    before = (folder / "metrics.jsonl").read_bytes()
    file_of(task.vectors.path, seed=1)
    changed = worded()[1]
    with pytest.raises(ConfigError, match="vectors.txt was changed since this run began.*restore the file"):
        fit(model, changed, config, folder)
    assert (folder / "metrics.jsonl").read_bytes() == before
    file_of(task.vectors.path)
    assert fit(model, worded()[1], config, folder).status == "done"
    kinds = [json.loads(line)["kind"] for line in (folder / "launches.jsonl").read_text().splitlines()]
    assert kinds == ["start", "end", "start", "end"]


def test_another_width_than_the_models_is_said_before_a_folder_is_made(worded, tmp_path):
    file_of(tmp_path / "vectors.txt", width=6)
    _, task, config = worded()
    with pytest.raises(ConfigError, match="vectors of 6 numbers, and model.d_model=8.*--model.d-model 6"):
        trial.train(config, task, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recurrence_has_the_same_embedding():
    for mixer in ("attention", "gru"):
        model = trial.models.build(ModelConfig(d_model=8, mixer=mixer), Shape(5, 2, vocab_size=7, pooled=True))
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        *path, last = vectors.LEAF.split("/")
        for key in path:
            shapes = shapes[key]
        assert shapes[last].shape == (7, 8)
