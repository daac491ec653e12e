"""Streams of tasks: what each has of the set, which answers it allows, replay and joint data, where it goes on."""

import json
from functools import cache
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import ConfigError, ModelConfig, TaskConfig, TrainConfig, with_overrides
from transformer_jax.config.continual import ContinualConfig, StreamConfig
from transformer_jax.continual import streams
from transformer_jax.tasks import associative_recall, images, number_words, number_words_fr

COUNTS = {"train": 30, "validation": 9, "test": 12}
CLASSES = 6


def load(split, at_most):
    """Random images whose first pixel is the class."""
    random = np.random.default_rng(len(split))
    labels = np.arange(COUNTS[split]).astype(np.int32) % CLASSES
    pixels = random.integers(0, 255, (len(labels), 4, 4, 1)).astype(np.uint8)
    pixels[:, 0, 0, 0] = labels
    return pixels[:at_most], labels[:at_most]


def config_of(**continual):
    base = StreamConfig(
        ModelConfig(d_model=8, num_heads=2, num_layers=1, max_len=16, causal=False),
        TaskConfig(name="digits", seq_len=4, patch_rows=1, batch_size=4),
        TrainConfig(num_steps=4, chunk_steps=2, eval_every=2, checkpoint_every=2),
        continual=ContinualConfig(**{"num_tasks": 3} | continual),
    )
    return base


def stream_of(**continual):
    config = config_of(**continual)
    return streams.build(config, images.build(config, load, CLASSES, dict))


@cache
def recall(scenario):
    config = config_of(stream="vocabularies", scenario=scenario)
    sizes = {"task.name": "associative_recall", "task.vocab_size": 6, "task.num_items": 2, "task.seq_len": 8,
             "task.patch_rows": None}  # fmt: skip
    config = with_overrides(config, sizes)
    return streams.build(config, associative_recall.build(config))


def real(batches):
    """What counts, of all batches together."""
    batches = list(batches)
    kept = [b["weights"].reshape(len(b["weights"]), -1).any(1) for b in batches]
    return {name: np.concatenate([b[name][k] for b, k in zip(batches, kept, strict=True)]) for name in batches[0]}


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_split_tasks_have_classes_of_their_own(scenario):
    stream = stream_of(stream="split", scenario=scenario)
    assert len(stream.tasks) == 3 and {t.shape for t in stream.tasks} == {stream.tasks[0].shape}
    assert stream.tasks[0].shape.outputs == (2 if scenario == "domain" else 6)
    whole = real(stream.tasks[0].evaluate("test"))
    assert len(whole["task"]) == 12
    for k, task in enumerate(stream.tasks):
        own = {name: array[whole["task"] == k] for name, array in whole.items()}
        assert set(own["targets"]) == ({0, 1} if scenario == "domain" else {2 * k, 2 * k + 1})
        drawn = next(task.train(0))
        assert set(drawn["task"]) == {k} and set(drawn["targets"]) <= set(own["targets"])
        assert len(real(stream.examples(k))["task"]) == 10  # of 30 that train
        if scenario == "task":
            assert (own["allowed"][:, 0] == (np.arange(6) // 2 == k)).all()


def test_permuted_tasks_have_every_image_in_another_order_of_pixels():
    stream = stream_of(stream="permuted", scenario="domain")
    parts = [real(stream.examples(k)) for k in range(3)]
    for k, part in enumerate(parts):
        np.testing.assert_array_equal(part["targets"], parts[0]["targets"])
        flat, first = (x["inputs"].reshape(30, -1) for x in (part, parts[0]))
        np.testing.assert_array_equal(np.sort(flat), np.sort(first))
        assert np.array_equal(flat, first) == (k == 0)


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_permuted_tasks_may_have_answers_of_their_own(scenario):
    stream = stream_of(stream="permuted", scenario=scenario)
    assert stream.tasks[0].shape.outputs == 18
    first, own = (real(stream.examples(k)) for k in (0, 2))
    np.testing.assert_array_equal(own["targets"], first["targets"] + 12)
    assert ("allowed" in own) == (scenario == "task")
    assert scenario == "class" or (own["allowed"][:, 0] == (np.arange(18) // 6 == 2)).all()


@pytest.mark.parametrize("method", ["ewc", "replay", "joint"])
@pytest.mark.parametrize(("kind", "outputs"), [("split", 6), ("permuted", 18)])
def test_answers_seen_so_far_grow_with_the_tasks_in_their_order(kind, outputs, method):
    order, each = (2, 0, 1), outputs // 3
    stream = stream_of(stream=kind, scenario="class", answers="seen", order=order, method=method)
    of_task_V = np.arange(outputs) // each
    for k, task in enumerate(stream.tasks):
        known_V = np.isin(of_task_V, order[: k + 1])
        drawn = task.train(0)
        batches = [*(next(drawn) for _ in range(6)), *stream.examples(k), *task.evaluate("validation")]
        assert all((batch["allowed"][:, 0] == known_V).all() for batch in batches)
        assert all(known_V[batch["targets"]].all() for batch in batches[:6])
        assert {int(j) for batch in batches for j in batch["task"]} == {0, 1, 2}  # all are evaluated
        later = real(task.evaluate("test"))
        assert (known_V[later["targets"]] == (later["task"] <= k)).all()


def test_only_answers_of_all_tasks_take_seen():
    for scenario in ("task", "domain"):
        plain, seen = (stream_of(stream="split", scenario=scenario, answers=answers) for answers in ("all", "seen"))
        for one, other in zip(plain.tasks, seen.tasks, strict=True):
            a, b = next(one.train(0)), next(other.train(0))
            assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)
    assert with_overrides(config_of(scenario="domain", answers="seen"), {"train.label_smoothing": 0.1})
    with pytest.raises(ConfigError, match="continual.answers=seen, there are answers that cannot be given"):
        with_overrides(config_of(scenario="class", answers="seen"), {"train.label_smoothing": 0.1})


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_vocabularies_share_no_token(scenario):
    stream, seen = recall(scenario), []
    assert stream.tasks[0].shape.vocab_size == stream.tasks[0].shape.outputs == 18
    for task in stream.tasks:
        batch = next(task.train(3))
        seen.append(set(batch["inputs"].ravel()))
        assert set(batch["targets"][batch["weights"] > 0]) <= seen[-1]
        assert ("allowed" in batch) == (scenario == "task")
    assert not (seen[0] & seen[1] or seen[1] & seen[2] or seen[0] & seen[2])


def letters(**continual):
    config = config_of(stream="texts", scenario="domain", **continual)
    config = with_overrides(config, {"task.name": "number_words", "task.patch_rows": None, "model.causal": True})
    nothing = SimpleNamespace(build=lambda c: number_words.build(c)._replace(name="digits", decode=None))
    texts = {"number_words_fr": number_words_fr, "digits": nothing}
    return number_words.build(config), streams.build(
        config, number_words.build(config), lambda name: texts[name].build(config)
    )


def test_texts_share_one_vocabulary():
    base, stream = letters(texts=("number_words_fr",), num_tasks=2)
    symbols = sorted({*number_words.letters(), *number_words.letters("fr")})
    assert stream.tasks[0].shape.vocab_size == stream.tasks[0].shape.outputs == len(symbols) > base.shape.vocab_size
    first, second = (next(iter(stream.examples(k))) for k in (0, 1))
    own = next(iter(base.evaluate("train")))
    for name in ("inputs", "targets"):
        for row, other in zip(first[name], own[name], strict=True):
            assert "".join(symbols[i] for i in row) == base.decode(other)
    assert set(second["task"]) == {1} and set(first["task"]) == {0}
    drawn = stream.tasks[1].train(0)
    seen = {"".join(symbols[i] for i in row) for _ in range(100) for row in next(drawn)["inputs"]}
    assert seen & {"cent", "ille"} and not seen & {"hund", "thou", "ousa"}


@pytest.mark.parametrize(
    ("continual", "message"),
    [
        (
            {"texts": ("number_words_fr",)},
            "continual.num_tasks=3: continual.stream=texts has a task for task.name and one for each of"
            " continual.texts, 2 here$",
        ),
        ({"texts": ("digits",), "num_tasks": 2}, "continual.stream=texts: digits is no text of characters"),
    ],
)
def test_texts_that_cannot_be(continual, message):
    with pytest.raises(ConfigError, match=message):
        letters(**continual)


def test_the_order_of_the_tasks():
    there, back = stream_of(stream="split"), stream_of(stream="split", order=(2, 0, 1))
    for k, j in enumerate((2, 0, 1)):
        one, other = real(back.examples(k)), real(there.examples(j))
        np.testing.assert_array_equal(one["inputs"], other["inputs"])
        assert set(one["task"]) == {k} and set(other["task"]) == {j}


@pytest.mark.parametrize(("method", "counts"), [("joint", (1, 1, 2)), ("replay", (1, 1, 2)), ("ewc", (0, 0, 4))])
def test_replay_and_joint_batches_hold_rows_of_earlier_tasks(method, counts):
    """Two of four of the third task's own, and joint has each task's rows; the streams go on where they were."""
    drawn = stream_of(stream="split", method=method, buffer=4).tasks[2].train(1)
    batches = [next(drawn) for _ in range(6)]
    of_each = [tuple((b["task"] == k).sum() for k in range(3)) for b in batches]
    assert {sum(each) for each in of_each} == {4}
    if method == "replay":
        assert {each[2] for each in of_each} == {2}
        old = real([{n: a[b["task"] < 2] for n, a in b.items()} for b in batches])
        assert len({image.tobytes() for image in old["inputs"]}) <= 4  # the buffer's
    else:
        assert set(of_each) == {counts}
    state = json.loads(json.dumps(drawn.get_state()))
    again = stream_of(stream="split", method=method, buffer=4).tasks[2].train(1)
    again.set_state(state)
    np.testing.assert_array_equal(next(again)["inputs"], next(drawn)["inputs"])


def test_the_objective_tells_tasks_apart_and_knows_what_is_allowed():
    stream = stream_of(stream="split", scenario="task")
    batch = {"targets": np.array([0, 3]), "weights": np.ones(2, np.float32), "task": np.array([0, 1]),
             "allowed": np.stack([np.arange(6)[None] // 2 == k for k in (0, 1)])}  # fmt: skip
    outputs = jnp.array([[1.0, 0, 9, 0, 0, 9], [9.0, 0, 0, 1, 0, 0]])  # the largest are another task's
    objective = stream.tasks[1].objective
    (loss, weight), metrics = objective.terms(outputs, batch)
    np.testing.assert_allclose(loss / weight, np.log1p(np.exp(-1.0)), rtol=1e-6)
    means = {name: float(a) / float(b) if b else np.nan for name, (a, b) in metrics.items()}
    assert objective.finish(means) == {"accuracy": 1.0, "accuracy_0": 1.0, "accuracy_1": 1.0}
    assert objective is stream_of(stream="split", scenario="task").tasks[0].objective  # compiled once


def test_a_target_of_a_task_to_come_is_wrong_and_has_no_part_in_the_loss():
    batch = {"targets": np.array([0, 3]), "weights": np.ones(2, np.float32), "task": np.array([0, 1]),
             "allowed": np.broadcast_to(np.arange(6) < 2, (2, 1, 6))}  # fmt: skip
    outputs = jnp.array([[1.0, 0, 9, 0, 0, 9], [9.0, 0, 0, 99, 0, 0]])
    objective = stream_of(stream="split", scenario="class", answers="seen").tasks[0].objective
    (loss, weight), metrics = objective.terms(outputs, batch)
    assert weight == 1
    np.testing.assert_allclose(loss, np.log1p(np.exp(-1.0)), rtol=1e-6)
    assert {name: (float(a), float(b)) for name, (a, b) in metrics.items()} == {
        "accuracy": (1, 1), "accuracy_0": (1, 1), "accuracy_1": (0, 1), "accuracy_2": (0, 0),
    }  # fmt: skip
    in_steps = {name: value[:, None] if value.ndim == 1 and name != "task" else value for name, value in batch.items()}
    (of_steps, _), _ = objective.terms(outputs[:, None], in_steps)
    assert of_steps == loss


@pytest.mark.parametrize(
    ("continual", "message"),
    [
        ({"strength": -1.0}, r"continual.strength=-1.0: must be finite, and 0 or above"),
        ({"strength": float("inf")}, "continual.strength=inf: must be finite"),
        ({"strengths": (1.0, float("nan"))}, "continual.strength=nan: must be finite"),
        (
            {"stream": "vocabularies", "scenario": "domain"},
            "continual.scenario=domain: the tasks of continual.stream=vocabularies are task or class",
        ),
        (
            {"order": (1, 2, 3)},
            r"continual.order=\[1, 2, 3\]: it names each of the 3 tasks once, the first is 0: 0 1 2,",
        ),
        (
            {"scenario": "domain", "stream": "vocabularies", "texts": ("number_words",)},
            "only continual.stream=texts reads them\n  and: continual.scenario=domain: the tasks of continual.stream",
        ),
        ({"method": "ewk"}, "did you mean ewc"),
        ({"decay": 1.5}, r"continual.decay=1.5: must lie in \[0, 1\]"),
        (
            {"strengths": (1.0, 2.0)},
            r"train.lanes=1: every seed has 2 lanes here \(by continual.strengths\), so it must be a multiple: 2$",
        ),
        (
            {"strengths": (1.0, 2.0), "with_frozen": True},
            r"every seed has 3 lanes here \(by continual.strengths and continual.with_frozen\)",
        ),
        ({"with_frozen": True}, r"every seed has 2 lanes here \(by continual.with_frozen\)"),
    ],
)
def test_what_cannot_be_is_refused(continual, message):
    with pytest.raises(ConfigError, match=message):
        config_of(**continual)


def test_a_set_of_another_kind_is_refused():
    config = config_of(stream="vocabularies")
    with pytest.raises(ConfigError, match="does not answer with tokens of its input; associative_recall does"):
        streams.build(config, images.build(config, load, CLASSES, dict))
    with pytest.raises(ConfigError, match="continual.num_tasks=3: a task of the 4 classes"):
        streams.build(config_of(), images.build(config_of(), load, 4, dict))
    config = config_of(stream="permuted", scenario="domain")
    with pytest.raises(ConfigError, match="is no set of images with classes; digits is"):
        streams.build(config, associative_recall.build(with_overrides(config, {"task.num_items": 1})))


def test_lanes_of_a_seed_stand_beside_each_other():
    config = StreamConfig(
        train=TrainConfig(lanes=6, seed=7, weight_decay=0.0),
        continual=ContinualConfig(strengths=(0.0, 3.0), with_frozen=True),
    )
    assert config.seeds == (7, 7, 7, 8, 8, 8) and config.strengths == (0.0, 3.0, None) * 2
