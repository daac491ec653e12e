"""The multilayer perceptron: the formula, sums over examples without their gradients, what it does not take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import ConfigError, ModelConfig, Shape

SHAPE = Shape(seq_len=3, outputs=4, input_dim=5, pooled=True)
B, D = 7, 8
X = np.random.default_rng(0).normal(size=(B, 3, 5)).astype(np.float32)


def built(num_layers=2, activation="relu"):
    config = ModelConfig(classifier="perceptron", num_layers=num_layers, d_model=D, activation=activation)
    model = models.build(config, SHAPE)
    return model, drawn(model)


def layers(params):
    return [*(params.get("mlp", {})[name] for name in sorted(params.get("mlp", {}))), params["head"]]


@pytest.mark.parametrize("num_layers", [0, 1, 2])
def test_it_is_dense_layers_with_relu_between(num_layers):
    model, params = built(num_layers)
    x = X.reshape(B, 15).astype(np.float64)
    for i, layer in enumerate(layers(params)):
        x = (np.maximum(x, 0) if i else x) @ layer["kernel"] + layer["bias"]
    found = jax.jit(model.apply)(params, X)
    assert found.dtype == jnp.float32 and len(layers(params)) == num_layers + 1
    np.testing.assert_allclose(found, x, rtol=1e-5, atol=1e-5)


def test_it_starts_within_the_root_of_what_a_unit_reads():
    model, _ = built()
    for layer, width in zip(layers(model.init(jax.random.key(0))), (15, D, D), strict=True):
        assert 0.7 * width**-0.5 < np.abs(layer["kernel"]).max() <= width**-0.5 and not layer["bias"].any()


@pytest.mark.parametrize("of", [jnp.square, jnp.abs])
@pytest.mark.parametrize(("num_layers", "activation"), [(0, "relu"), (2, "relu"), (2, "gelu")])
def test_sums_over_examples_are_those_of_each_example_s_gradient(of, num_layers, activation):
    model, params = built(num_layers, activation)
    cotangent = np.random.default_rng(1).normal(size=(B, 4)).astype(np.float32)
    found = jax.jit(model.over_examples, static_argnums=3)(params, X, cotangent, of)
    one = jax.jit(jax.grad(lambda p, x, c: jnp.vdot(model.apply(p, x[None])[0], c)))
    each = [jax.tree.map(lambda leaf: np.array(of(leaf)), one(params, x, c)) for x, c in zip(X, cotangent, strict=True)]
    expected = jax.tree.map(lambda *leaves: np.sum(leaves, axis=0), *each)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_what_it_does_not_take():
    model, params = built()
    with pytest.raises(ValueError, match="neither a mask nor lengths"):
        model.apply(params, X, lengths=np.ones(B, int))
    for shape in (
        Shape(5, 3, vocab_size=3, pooled=True),
        Shape(5, 3, input_dim=2),
        Shape(5, 2, input_dim=2, horizon=3),
    ):
        with pytest.raises(ConfigError, match="model.classifier=perceptron answers once to a sequence of vectors"):
            models.build(ModelConfig(classifier="perceptron", max_len=8, patch_len=4, patch_stride=2), shape)
