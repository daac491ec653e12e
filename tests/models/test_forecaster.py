"""Forecasters: what they answer against the formulas, each channel by itself, with every mixer."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import MIXERS, Config, ConfigError, ModelConfig, Shape, with_overrides
from transformer_jax.measure import closed_form
from transformer_jax.measure.matching import matched

SHAPE = Shape(seq_len=19, outputs=3, input_dim=3, horizon=7)
SMALL = dict(d_model=8, num_heads=2, num_layers=1, mlp_dim=12, patch_len=5, patch_stride=3, position="learned")
SMALL["scan_layers"] = False


@cache
def built(shape=SHAPE, **fields):
    """A model whose apply is compiled, and random parameters."""
    model = models.build(ModelConfig(**SMALL | fields), shape)
    return model._replace(apply=jax.jit(model.apply, static_argnames="train")), drawn(model)


def windows(batch=4, shape=SHAPE):
    return jnp.asarray(np.random.default_rng(0).normal(2, 3, (batch, shape.seq_len, shape.input_dim)), jnp.float32)


def count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_repeat_last_repeats_the_last_step_and_has_no_parameters():
    model, params = built(forecaster="repeat_last")
    found = model.apply(params, windows())
    assert params == {} and found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.repeat(np.asarray(windows())[:, -1:], 7, axis=1))


def test_dlinear_begins_as_the_mean_of_what_is_read():
    model, _ = built(forecaster="dlinear")
    params = model.init(jax.random.key(0))
    expected = np.repeat(np.asarray(windows()).mean(1, keepdims=True), 7, axis=1)
    np.testing.assert_allclose(model.apply(params, windows()), expected, rtol=1e-4)
    assert count(params) == 2 * (19 * 7 + 7)


def test_dlinear_is_two_linear_layers():
    model, params = built(forecaster="dlinear")
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), params)
    x = np.asarray(windows(), np.float64)
    padded = np.concatenate([np.repeat(x[:, :1], 12, 1), x, np.repeat(x[:, -1:], 12, 1)], 1)
    trend = np.stack([padded[:, i : i + 25].mean(1) for i in range(19)], 1)
    expected = sum(
        np.einsum("blc,lh->bhc", part, params[name]["kernel"]) + params[name]["bias"][:, None]
        for name, part in (("trend", trend), ("rest", x - trend))
    )
    found = model.apply(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params), windows())
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mixer", list(MIXERS))
def test_every_mixer_forecasts_a_channel_from_every_step_of_it_alone(mixer):
    """By gradient: the answer depends on every step that is read, the first and the last among them."""
    model, params = built(mixer=mixer)

    def size(params, x):
        answer = model.apply(params, x)
        assert answer.shape == (4, 7, 3)
        return (answer[0, :, 1] ** 2).sum()

    grads, slopes = jax.jit(jax.grad(size, argnums=(0, 1)))(params, windows())
    assert np.all(slopes[0, :, 1]) and not np.any(slopes[1:]) and not np.any(slopes[0, :, jnp.array([0, 2])])
    assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(grads["block_0"]["mlp"]))
    assert model.extend is None and model.initial_state is None


def test_blocks_may_be_scanned_over_depth():
    scanned, params = built(scan_layers=True)
    one = {name: leaf for name, leaf in params.items() if name != "blocks"}
    one["block_0"] = jax.tree.map(lambda leaf: leaf[0], params["blocks"])
    np.testing.assert_allclose(built()[0].apply(one, windows()), scanned.apply(params, windows()), rtol=1e-5)


@pytest.mark.parametrize("forecaster", ["stack", "dlinear", "repeat_last"])
def test_channels_share_parameters_and_their_order_means_nothing(forecaster):
    model, params = built(forecaster=forecaster)
    order = jnp.array([2, 0, 1])
    found = model.apply(params, windows())
    np.testing.assert_allclose(model.apply(params, windows()[..., order]), found[..., order], rtol=1e-4, atol=1e-5)
    wide, _ = built(SHAPE._replace(input_dim=1, outputs=1), forecaster=forecaster)
    np.testing.assert_allclose(wide.apply(params, windows()[..., 1:2]), found[..., 1:2], rtol=1e-4, atol=1e-5)


def test_another_level_and_scale_of_the_series_are_those_of_the_forecast():
    """Instance normalisation: f(a x + b) = a f(x) + b."""
    model, params = built()
    found = model.apply(params, windows())
    np.testing.assert_allclose(model.apply(params, 4 * windows() + 30), 4 * found + 30, rtol=1e-4)


def test_dropout_acts_in_training_alone():
    model, params = built(dropout_rate=0.5)
    still, one, other = (
        model.apply(params, windows(), train=train, key=key)
        for train, key in ((False, None), (True, jax.random.key(1)), (True, jax.random.key(2)))
    )
    assert np.any(one != other) and np.any(one != still)
    np.testing.assert_array_equal(still, model.apply(params, windows()))


def test_bfloat16_multiplies_and_answers_in_float32():
    model, params = built(dtype="bfloat16")
    close, exact = model.apply(params, windows()), built()[0].apply(params, windows())
    assert close.dtype == jnp.float32 and np.any(close != exact)
    np.testing.assert_allclose(close, exact, atol=0.3)


def test_what_a_forecaster_does_not_take():
    model, params = built()
    for given in ({"mask": jnp.ones((1, 1, 19, 19), bool)}, {"lengths": jnp.array([19] * 4)}):
        with pytest.raises(ValueError, match="neither a mask nor lengths"):
            model.apply(params, windows(), **given)
    with pytest.raises(ValueError, match="a window is 19 steps of 3"):
        model.apply(params, windows()[:, 1:])


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({"patch_len": 20}, SHAPE, "model.patch_len=20 is more than the 19 steps"),
        ({"max_len": 18}, SHAPE, "longer than model.max_len=18"),
        ({"tie_embeddings": True}, SHAPE, "model.tie_embeddings=True"),
        (
            {"forecaster": "dlinear"},
            Shape(9, 5, input_dim=3, pooled=True),
            "model.forecaster=dlinear answers a forecast",
        ),
        ({"forecaster": "dlinear"}, Shape(9, 5, vocab_size=5, source_len=4, source_vocab_size=5), "answers a forecast"),
    ],
)
def test_models_that_do_not_fit(fields, shape, message):
    with pytest.raises(ConfigError, match=message):
        models.build(ModelConfig(**SMALL | fields), shape)


def test_patches_with_gaps_are_refused():
    with pytest.raises(ConfigError, match="model.patch_stride=6 is more than model.patch_len=5"):
        ModelConfig(patch_len=5, patch_stride=6)


def test_a_gru_of_as_many_parameters():
    config = with_overrides(Config(), {f"model.{name}": value for name, value in (SMALL | {"d_model": 32}).items()})
    config = with_overrides(config, {"task.seq_len": 19, "model.mixer": "gru"})
    equal = matched(config, SHAPE, "params").model
    attention = with_overrides(config, {"model.mixer": "attention"}).model
    goal, found = (
        count(jax.eval_shape(models.build(model, SHAPE).init, jax.random.key(0))) for model in (attention, equal)
    )
    assert found == pytest.approx(goal, rel=0.02) and equal.recurrent_dim is not None
    with pytest.raises(ConfigError, match=r"closed form of parameters .*horizon=7"):
        closed_form.num_params(config.model, SHAPE)
