"""Other values at the start land in their place alone, of a mixer and of a network, and mean what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape
from transformer_jax.measure import initial
from transformer_jax.models.mixer import build_mixer

N, B, T, D, R = 3, 2, 4, 6, 5
SEEDS = jnp.arange(N)


def leaves(params):
    return {"/".join(part.key for part in path): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)}  # fmt: skip


def changed(before, after):
    before, after = leaves(before), leaves(after)
    assert before.keys() == after.keys()
    return {name for name in before if not np.array_equal(before[name], after[name])}


def config(mixer):
    return ModelConfig(mixer=mixer, d_model=D, recurrent_dim=R, num_heads=2, num_layers=2, max_len=T)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_each_lane_is_the_mixer_of_its_seed():
    params, one = initial.mixers(config("lstm"), SEEDS), build_mixer(config("lstm")).init(jax.random.key(2))
    for name, leaf in leaves(params).items():
        assert leaf.shape[0] == N and np.allclose(leaf[2], leaves(one)[name], atol=1e-6)


def test_an_lstm_with_another_forget_bias_is_the_formula_with_it():
    params = jax.tree.map(lambda leaf: leaf[0], initial.mixers(config("lstm"), SEEDS, forget_bias=3.0))
    p = {name: leaf.astype(np.float64) for name, leaf in leaves(params).items()}
    x = np.random.default_rng(0).normal(size=(B, T, D))
    h, c, outputs = np.zeros((B, R)), np.zeros((B, R)), []
    for t in range(T):
        i, f, g, o = np.split(x[:, t] @ p["input/kernel"] + h @ p["kernel"], 4, axis=-1)
        c = sigmoid(f + 3) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h @ p["out/kernel"] + p["out/bias"])
    y = build_mixer(config("lstm")).apply(params, jnp.asarray(x, jnp.float32))
    assert np.allclose(y, np.stack(outputs, 1), atol=1e-5)


@pytest.mark.parametrize("mixer", ["rnn", "gru", "lstm"])
def test_a_scaled_matrix_is_the_orthogonal_one_times_the_scale(mixer):
    before, after = initial.mixers(config(mixer), SEEDS), initial.mixers(config(mixer), SEEDS, recurrent_scale=2.0)
    assert changed(before, after) == {"kernel"}
    for gate in np.split(np.asarray(after["kernel"]), after["kernel"].shape[-1] // R, axis=-1):
        assert np.allclose(gate.swapaxes(1, 2) @ gate, 4 * np.eye(R), atol=1e-5)


@pytest.mark.parametrize("scan_layers", [True, False])
def test_in_a_network_only_the_recurrences_change(scan_layers):
    model = models.build(
        ModelConfig(mixer="lstm", d_model=D, num_layers=2, max_len=T, scan_layers=scan_layers),
        Shape(T, 3, vocab_size=7),
    )
    params = model.init(jax.random.key(0))
    blocks = ["blocks/mixer"] if scan_layers else ["block_0/mixer", "block_1/mixer"]
    biased, scaled = (initial.restarted(params, "lstm", *start) for start in ((5.5, 1.0), (1.0, 3.0)))
    assert changed(params, biased) == {f"{block}/input/bias" for block in blocks}
    assert changed(params, scaled) == {f"{block}/kernel" for block in blocks}
    for block in blocks:
        bias = leaves(biased)[f"{block}/input/bias"]
        assert np.array_equal(np.unique(bias[..., D : 2 * D]), [5.5]) and not bias[..., :D].any()
    assert not changed(params, initial.restarted(params, "lstm"))


@pytest.mark.parametrize(
    ("mixer", "start", "message"),
    [
        ("gru", {"forget_bias": 3.0}, "gru has no forget gate"),
        ("attention", {"forget_bias": 3.0}, "attention has no forget gate"),
        ("min_gru", {"recurrent_scale": 2.0}, "min_gru multiplies no state by a matrix"),
        ("attention", {"recurrent_scale": 2.0}, "attention multiplies no state by a matrix"),
    ],
)
def test_what_a_mixer_does_not_have_cannot_start_otherwise(mixer, start, message):
    with pytest.raises(ValueError, match=message):
        initial.restarted({}, mixer, **start)
