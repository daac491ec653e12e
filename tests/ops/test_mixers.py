"""Each mixer's record against its layer and its op: counted parameters, widths, states, FLOPs and programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import MIXERS, ModelConfig
from transformer_jax.layers.block import Context
from transformer_jax.measure import flops
from transformer_jax.models.network import make_mixer
from transformer_jax.ops import mixers
from transformer_jax.ops.recurrence import RECURRENCE

B, T, D = 2, 6, 12
VARIANTS = {
    **{name: {"mixer": name} for name in MIXERS},
    "grouped": {"num_kv_heads": 2, "head_dim": 5},
    "wide lstm": {"mixer": "lstm", "recurrent_dim": 17},
    "lstm from both ends": {"mixer": "lstm", "bidirectional": True},
    "narrow gru from both ends": {"mixer": "gru", "recurrent_dim": 5, "bidirectional": True},
}


@pytest.fixture(params=VARIANTS)
def model(request):
    return ModelConfig(**{"d_model": D, "num_heads": 4, "attention": "reference"} | VARIANTS[request.param])


@pytest.fixture
def record(model):
    return mixers.mixer(model.mixer, **model.sizes)


def test_config_and_ops_know_the_same_mixers():
    assert set(MIXERS) == set(mixers.MIXERS) | set(RECURRENCE)
    for name, recurrence in RECURRENCE.items():
        assert set(MIXERS[name].forms) == {*recurrence.forms, *recurrence.projecting}
    with pytest.raises(KeyError):
        mixers.mixer("convolution")


def test_parameters_are_those_of_the_layer(model, record):
    x = jax.ShapeDtypeStruct((1, 1, D), jnp.float32)
    positions = jnp.zeros(1, jnp.int32)
    params = jax.eval_shape(make_mixer(model)().init, jax.random.key(0), x, Context(positions))["params"]
    made = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert record.weights(D) + record.biases(D) + record.num_params == made


def test_what_decoding_keeps_is_the_layers_state(model, record):
    if model.looks_ahead:
        assert record.remembered(T) == 0  # nothing can be continued
        return
    state = jax.eval_shape(lambda: make_mixer(model)().initial_state(1, T))
    assert record.remembered(T) == sum(leaf.size for leaf in jax.tree.leaves(state))


def test_the_op_alone_costs_what_the_record_says(model, record):
    form = "reference" if model.mixer not in RECURRENCE else "sequential"
    rng = np.random.default_rng(0)
    draw = lambda *shapes: [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]  # noqa: E731
    inputs, like = record.arguments(draw, B, T)
    op = record.op(form, causal=True)
    out = jax.jit(op)(*inputs)
    assert out.shape == like.shape and out.size == B * T * record.width
    forward, backward = record.flops(record.implementation(form, B, T, T, "float32", True), T, T, True)
    assert flops.count(op, *inputs).matmul_flops == B * forward

    def train(*inputs):
        value, pullback = jax.vjp(op, *inputs)
        return value, pullback(like)

    assert flops.count(train, *inputs).matmul_flops == B * (forward + backward)


def test_only_attention_has_an_implementation_to_choose_and_scores_to_store(model, record):
    chosen = [record.implementation(form, B, T, T, "float32", True) for form in ("auto", "blockwise")]
    decoding = record.implementation("blockwise", B, 1, T, "float32", True)
    if model.mixer in RECURRENCE:
        assert chosen == [None, None] and decoding is None and record.stored_scores(None, T, T) == 0
        assert record.step_by_step == (model.mixer != "min_gru")
        return
    assert chosen == ["reference", "blockwise"] and decoding == "next_step" and not record.step_by_step
    assert [record.stored_scores(name, T, 9) for name in ("reference", "xla", "blockwise")] == [4 * T * 9] * 2 + [0]
