"""A recurrence that the project has never heard of needs a record and a name, and nothing else."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax import config as c
from transformer_jax import models, typed
from transformer_jax.config.model import recurrent_mixer
from transformer_jax.measure import closed_form, flops, programs
from transformer_jax.measure.matching import matched
from transformer_jax.measure.predict import predict
from transformer_jax.measure.work import Work, next_token
from transformer_jax.ops import recurrence

B, T, D, R = 3, 8, 16, 24


def gated_average(x_BxTx2R, weights, carry):
    """h = a h + (1 - a) tanh(x + c W), c = c + h: one matrix, one vector, two arrays carried."""
    w_RxR, decay_R = weights

    def step(carry, x_Bx2R):
        (h, c), (gate, x) = carry, jnp.split(x_Bx2R, 2, axis=-1)
        a = jax.nn.sigmoid(decay_R + gate)
        h = a * h + (1 - a) * jnp.tanh(x + c @ w_RxR)
        return (h, c + h), h

    carry, h_TxBxR = jax.lax.scan(step, carry, x_BxTx2R.swapaxes(0, 1))
    return h_TxBxR.swapaxes(0, 1), carry


@pytest.fixture
def config(monkeypatch):
    record = recurrence.Recurrence(
        gated_average,
        num_gates=2,
        weights=lambda R: {"kernel": (R, R), "decay": (R,)},
        num_carry=2,
        forget_gate=0,
    )
    monkeypatch.setitem(recurrence.RECURRENCE, "average", record)
    monkeypatch.setitem(c.MIXERS, "average", recurrent_mixer("sequential"))
    # a name in MIXERS is one of the field's values when the module is read, and here it has been
    monkeypatch.setitem(c.ModelConfig.__annotations__, "mixer", Literal["attention", "average"])
    typed.hints.cache_clear()
    small = {"model.d_model": D, "task.vocab_size": 11, "task.seq_len": T, "task.batch_size": B}
    yield c.with_overrides(c.Config(), small | {"model.mixer": "average", "model.recurrent_dim": R})
    typed.hints.cache_clear()


@pytest.mark.parametrize("level", ["op", "block", "model"])
def test_it_is_built_and_trained_and_its_flops_are_counted(config, level):
    work = Work(config, next_token(config), level)
    program = programs.build(work)
    args = program.make_args()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(program.fn(*args)) if leaf.dtype == jnp.float32)
    assert flops.count(program.fn, *args).matmul_flops == closed_form.matmul_flops(work)
    assert predict(work)["seconds"] > 0


def test_its_parameters_are_set_up_and_counted(config):
    params = jax.jit(models.build(config.model, next_token(config)).init)(jax.random.key(0))
    assert closed_form.num_params(config.model, next_token(config)) == sum(
        leaf.size for leaf in jax.tree.leaves(params)
    )
    own = {path[-2].key + "/" + path[-1].key: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    assert own["mixer/kernel"].shape == (2, R, R) and not own["mixer/decay"].any()
    np.testing.assert_allclose(own["mixer/kernel"][0] @ own["mixer/kernel"][0].T, np.eye(R), atol=1e-5)
    np.testing.assert_array_equal(own["input/bias"], np.tile(np.repeat([1, 0], R), (2, 1)))  # the forget gate
    assert matched(config, next_token(config), "params").model.recurrent_dim > 1


def test_it_decodes_what_it_reads_at_once(config):
    model = models.build(config.model, next_token(config))
    params, tokens = jax.jit(model.init)(jax.random.key(1)), np.arange(B * T).reshape(B, T) % 11
    extend = jax.jit(model.extend)
    state = model.initial_state(B, T)
    for t in range(T):
        logits, state = extend(params, tokens[:, t : t + 1], state)
    np.testing.assert_allclose(logits[:, 0], jax.jit(model.apply)(params, tokens)[:, -1], atol=1e-5)
    assert len(state.blocks["mixer"]) == 2
