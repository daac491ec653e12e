"""The Fisher's diagonal: closed forms, its independence of batches, masked rows, the forms under other names."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape
from transformer_jax.continual import fisher

F, V, N = 3, 4, 11


def apply(params, inputs, *, lengths=None, train=False, key=None):
    return inputs @ params["kernel"] + params["bias"]


SOFTMAX = models.Model(None, apply, None, None)
"""Softmax regression: its Fisher is known."""


def data(seed=0, n=N):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, F)).astype(np.float32)
    return {"inputs": x, "targets": random.integers(0, V, n).astype(np.int32), "weights": np.ones(n, np.float32)}


def params(seed=1):
    random = np.random.default_rng(seed)
    return {"kernel": jnp.asarray(random.normal(size=(F, V)), jnp.float32),
            "bias": jnp.asarray(random.normal(size=V), jnp.float32)}  # fmt: skip


def batches(whole, size):
    """Batches of one size, the last one filled up with rows of weight 0."""
    n = len(whole["weights"])
    for start in range(0, n, size):
        places = np.minimum(np.arange(start, start + size), n - 1)
        batch = {name: array[places] for name, array in whole.items()}
        batch["weights"] = batch["weights"] * (np.arange(start, start + size) < n)
        yield batch


def found(kind, size=N, whole=None, **more):
    key = jax.random.key(0)
    return fisher.importance(SOFTMAX, params(), batches(whole or data(), size), kind, key, **more)


def probabilities(x):
    p = params()
    logits = np.asarray(x @ p["kernel"] + p["bias"], np.float64)
    exps = np.exp(logits - logits.max(1, keepdims=True))
    return exps / exps.sum(1, keepdims=True)


def test_the_exact_form_is_the_closed_form_of_softmax_regression():
    """E_y[(1[y = v] - p_v)²] = p_v (1 - p_v), times the input squared."""
    x = data()["inputs"].astype(np.float64)
    variance = probabilities(x) * (1 - probabilities(x))
    exact = found("exact")
    np.testing.assert_allclose(exact["bias"], variance.mean(0), rtol=1e-5)
    np.testing.assert_allclose(exact["kernel"], np.einsum("nf,nv->fv", x**2, variance) / N, rtol=1e-5)


def test_the_observed_form_squares_each_example_before_the_mean():
    x, y = data()["inputs"].astype(np.float64), data()["targets"]
    error = np.eye(V)[y] - probabilities(x)
    np.testing.assert_allclose(found("observed")["bias"], (error**2).mean(0), rtol=1e-5)
    np.testing.assert_allclose(found("batched")["bias"], error.mean(0) ** 2, rtol=1e-4)


def test_the_likeliest_label_is_the_one_of_the_highest_probability():
    p = probabilities(data()["inputs"].astype(np.float64))
    error = np.eye(V)[p.argmax(1)] - p
    np.testing.assert_allclose(found("likeliest")["bias"], (error**2).mean(0), rtol=1e-5)


@pytest.mark.parametrize("kind", ["exact", "sampled", "likeliest", "observed", "mas"])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_model_that_sums_over_examples_by_itself_gives_the_same(kind, allowed):
    config = ModelConfig(classifier="perceptron", num_layers=1, d_model=8, activation="relu")
    model = models.build(config, Shape(3, 4, input_dim=5, pooled=True))
    random = np.random.default_rng(0)
    whole = {"inputs": random.normal(size=(N, 3, 5)).astype(np.float32), "targets": np.arange(N) % 2,
             "weights": np.ones(N, np.float32)}  # fmt: skip
    if allowed:
        whole["allowed"] = np.broadcast_to(np.arange(4) < 2, (N, 1, 4))
    start, key = drawn(model), jax.random.key(3)
    one, other = (fisher.importance(m, start, batches(whole, 4), kind, key) for m in (
        model, model._replace(over_examples=None)))  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, other)
    assert max(leaf.max() for leaf in jax.tree.leaves(one)) > 0


@pytest.mark.parametrize("kind", ["exact", "sampled", "observed", "mas"])
def test_how_examples_are_batched_changes_nothing(kind):
    whole = found(kind)
    for size in (2, 5):  # neither divides their number
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found(kind, size), whole)


def test_but_the_batched_form_depends_on_it():
    """As is known of libraries that square the gradient of a batch's mean (arXiv 2502.11756)."""
    assert np.abs(np.asarray(found("batched", 2)["bias"]) / found("batched")["bias"] - 1).max() > 0.5


def test_sampled_labels_come_to_the_exact_form():
    many = {name: np.repeat(array, 400, axis=0) for name, array in data(n=5).items()}
    exact = found("exact", 5, data(n=5))
    np.testing.assert_allclose(found("sampled", 500, many)["bias"], exact["bias"], rtol=0.15)


def test_mas_is_the_mean_size_of_the_gradient_of_the_squared_logits():
    x, p = data()["inputs"], params()
    logits = np.asarray(x @ p["kernel"] + p["bias"])
    np.testing.assert_allclose(found("mas")["bias"], np.abs(2 * logits).mean(0), rtol=1e-5)


def test_so_many_examples_are_the_first_ones():
    first = {name: array[:3] for name, array in data().items()}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        found("exact", 2, at_most=3),
        found("exact", 3, first),
    )


def test_no_example_is_an_error():
    with pytest.raises(ValueError, match="no example"):
        found("exact", whole=data() | {"weights": np.zeros(N, np.float32)})


SIZES = dict(d_model=8, num_heads=2, num_layers=1, mlp_dim=12, max_len=8, causal=False, attention="reference")


@cache
def attention():
    model = models.build(ModelConfig(**SIZES, scan_layers=False), Shape(5, 3, vocab_size=7))
    return model, jax.jit(model.init)(jax.random.key(2))


def test_of_an_attention_model_with_masked_rows():
    """The parameters' tree, finite, and rows without weight or beyond their length count for nothing."""
    model, start = attention()
    random = np.random.default_rng(3)
    batch = {"inputs": random.integers(0, 7, (4, 5)).astype(np.int32), "targets": np.zeros((4, 5), np.int32),
             "weights": np.array([[1, 0, 1, 0, 0], [0] * 5, [1, 0, 0, 0, 0], [0] * 5], np.float32),
             "lengths": np.array([3, 0, 1, 5], np.int32)}  # fmt: skip
    key = jax.random.key(0)
    exact = fisher.importance(model, start, [batch], "exact", key)
    assert jax.tree.structure(exact) == jax.tree.structure(start)
    assert all(np.isfinite(leaf).all() and (leaf >= 0).all() for leaf in jax.tree.leaves(exact))
    assert np.max(exact["block_0"]["mixer"]["query"]["kernel"]) > 0
    other = batch | {"inputs": np.where(np.arange(5) < batch["lengths"][:, None], batch["inputs"], 6)}
    other["inputs"][1] = other["inputs"][3] = 1
    again = fisher.importance(model, start, [other], "exact", key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9), exact, again)


def test_answers_of_an_example_add_up():
    """E over the labels of both answers together, counted one by one, is the sum over answers."""
    model, start = attention()
    tokens, places = np.array([[1, 4, 2, 0, 3]], np.int32), (1, 3)
    weights = np.zeros((1, 5), np.float32)
    weights[0, list(places)] = 1
    batch = {"inputs": tokens, "targets": np.zeros((1, 5), np.int32), "weights": weights}
    exact = fisher.importance(model, start, [batch], "exact", jax.random.key(0))

    asked = {"inputs": tokens, "asked": np.array([places], np.int32), "targets": np.zeros((1, 2), np.int32),
             "weights": np.ones((1, 2), np.float32)}  # fmt: skip
    there_alone = fisher.importance(model, start, [asked], "exact", jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9), there_alone, exact)

    def log_p(p, labels):
        rows = jax.nn.log_softmax(model.apply(p, tokens)[0])
        return rows[places[0], labels[0]] + rows[places[1], labels[1]]

    wanted = jax.tree.map(jnp.zeros_like, start)
    value_and_grad = jax.jit(jax.value_and_grad(log_p))
    for labels in np.ndindex(3, 3):
        value, grads = value_and_grad(start, jnp.asarray(labels))
        wanted = jax.tree.map(lambda w, g, value=value: w + jnp.exp(value) * g**2, wanted, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), exact, wanted)


def test_lanes_are_the_networks_one_by_one():
    two = jax.tree.map(lambda a, b: jnp.stack([a, b]), params(1), params(2))
    keys = jnp.stack([jax.random.key(4), jax.random.key(5)])
    lanes = fisher.importance(SOFTMAX, two, batches(data(), 4), "sampled", keys, lanes=True)
    for lane, seed in enumerate((1, 2)):
        one = fisher.importance(SOFTMAX, params(seed), batches(data(), 4), "sampled", keys[lane])
        jax.tree.map(lambda a, b, lane=lane: np.testing.assert_allclose(a[lane], b, rtol=1e-5), lanes, one)
