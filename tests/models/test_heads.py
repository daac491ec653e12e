"""Heads one by one: added up they are the layer; without one, the sum lacks just that one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape
from transformer_jax.layers.attention import Attention
from transformer_jax.layers.block import Context
from transformer_jax.models import heads

B, L, H, Dh, D, N, F = 2, 5, 3, 4, 6, 2, 7
SHAPE = Shape(L, 3, input_dim=F, pooled=True)


def built(scan_layers):
    config = ModelConfig(
        d_model=D, num_heads=H, head_dim=Dh, num_layers=N, max_len=L, causal=False, scan_layers=scan_layers
    )
    model = models.build(config, SHAPE)
    return config, model, jax.tree.map(jnp.asarray, drawn(model))


@pytest.fixture
def inputs():
    return np.random.default_rng(0).normal(size=(B, L, F)).astype(np.float32)


def of_layer(config, params, layer):
    if config.scan_layers:
        return jax.tree.map(lambda leaf: leaf[layer], params["blocks"])
    return params[f"block_{layer}"]


@pytest.mark.parametrize("scan_layers", [True, False])
def test_the_first_layers_heads_are_the_formula(inputs, scan_layers):
    config, _, params = built(scan_layers)
    found = np.asarray(heads.outputs(config, SHAPE, params, inputs))
    assert found.shape == (N, B, L, H, Dh)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), of_layer(config, params, 0))
    x = np.asarray(models.network.Embedding(None, D, L, "sinusoidal").apply(
        {"params": params["embedding"]}, inputs, jnp.arange(L)), np.float64)  # fmt: skip
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    x = x * p["norm_mixer"]["scale"] + p["norm_mixer"]["bias"]
    for b, h in np.ndindex(B, H):
        q, k, v = (x[b] @ p["mixer"][n]["kernel"][:, h] + p["mixer"][n]["bias"][h] for n in ("query", "key", "value"))
        weights = np.exp(q @ k.T / np.sqrt(Dh))
        np.testing.assert_allclose(found[0, b, :, h], weights / weights.sum(-1, keepdims=True) @ v, atol=1e-5)


@pytest.mark.parametrize("scan_layers", [True, False])
def test_without_a_head_its_share_is_missing(inputs, scan_layers):
    config, model, params = built(scan_layers)
    layer = Attention(D, H, H, Dh, causal=False)
    x, context = np.random.default_rng(1).normal(size=(B, L, D)).astype(np.float32), Context(np.arange(L))
    apply, of_all = jax.jit(layer.apply), jax.jit(model.apply)
    looked_into = jax.jit(partial(layer.apply, mutable=["intermediates"]))
    for n, h in np.ndindex(N, H):
        after = heads.without(config, params, n, h)
        before, less = (of_layer(config, p, n)["mixer"] for p in (params, after))
        whole, kept = looked_into({"params": before}, x, context)
        share = kept["intermediates"]["heads"][0][:, :, h] @ before["out"]["kernel"][h]
        np.testing.assert_allclose(whole[0] - share, apply({"params": less}, x, context)[0], atol=1e-5)
        untouched = of_layer(config, after, 1 - n)
        jax.tree.map(np.testing.assert_array_equal, untouched, of_layer(config, params, 1 - n))
        assert np.any(of_all(after, inputs) != of_all(params, inputs))


def test_what_has_no_such_head_is_refused(inputs):
    config, _, params = built(True)
    with pytest.raises(IndexError, match="layer 0, head 3: there are 2 and 3, from 0"):
        heads.without(config, params, 0, H)
    with pytest.raises(ValueError, match="model.mixer=gru has no heads"):
        heads.outputs(ModelConfig(mixer="gru"), SHAPE, params, inputs)
