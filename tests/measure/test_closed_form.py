"""Closed forms against the jaxpr walk, against the parameters that are really made, and against the literature."""

import jax
import pytest

from transformer_jax import models
from transformer_jax.config import Config, ModelConfig, Shape, TaskConfig, with_overrides
from transformer_jax.measure import closed_form, flops, programs
from transformer_jax.measure.matching import TOLERANCE, matched
from transformer_jax.measure.work import Work, next_token
from transformer_jax.tasks import associative_recall
from transformer_jax.train.step import make_loss

BASE = Config(ModelConfig(d_model=48, num_heads=3, num_layers=2), TaskConfig(seq_len=36, batch_size=2, vocab_size=40))
VARIANTS = {
    "reference": {"model.attention": "reference"},
    "xla": {"model.attention": "xla"},
    "blockwise": {"model.attention": "blockwise"},
    "blockwise, long": {"model.attention": "blockwise", "task.seq_len": 700},
    "auto": {"model.attention": "auto"},
    "grouped": {"model.attention": "reference", "model.num_kv_heads": 1, "model.head_dim": 8},
    "post-norm, learned, tied": {
        "model.norm": "post",
        "model.position": "learned",
        "model.tie_embeddings": True,
        "model.max_len": 2000,
    },
    "bare": {"model.norm": "none", "model.residual": False},
    "looking ahead": {"model.attention": "blockwise", "model.causal": False, "task.seq_len": 700},
    "remat": {"model.remat": True, "model.attention": "reference"},
    **{name: {"model.mixer": name} for name in ("rnn", "gru", "lstm", "min_gru")},
    "projected lstm": {"model.mixer": "lstm", "model.recurrent_dim": 20},
    "lstm from both ends": {"model.mixer": "lstm", "model.recurrent_dim": 20, "model.bidirectional": True},
    "no layers": {"model.num_layers": 0},
}
PLAIN = ("reference", "blockwise", "gru", "lstm")
MEASURES = [("op", "forward"), ("op", "train"), ("block", "forward"), ("block", "train")]
MEASURES += [("model", "forward"), ("model", "train"), ("model", "decode")]


def work(config, level="model", phase="train"):
    return Work(config, next_token(config), level, phase)


CASES = [(variant, *MEASURES[i]) for variant in VARIANTS for i in range(len(MEASURES))]
# tracing is slow: every measure for the plain variants, and for the others the two that say most
CASES = [case for case in CASES if case[0] in PLAIN or case[1:] in (("op", "train"), ("model", "train"))]


@pytest.mark.parametrize(("variant", "level", "phase"), CASES)
def test_the_walk_agrees_with_the_closed_form(variant, level, phase):
    what = work(with_overrides(BASE, VARIANTS[variant]), level, phase)
    program = programs.build(what)
    counted = flops.count(program.fn, *program.make_args()).matmul_flops / program.steps
    assert counted == pytest.approx(closed_form.matmul_flops(what), rel=0.01)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_counted_to_the_last_one(variant):
    config = with_overrides(BASE, VARIANTS[variant])
    shape = next_token(config)
    for level, model in (("model", models.build(config.model, shape)), ("block", models.build_block(config.model))):
        params = jax.eval_shape(model.init, jax.random.key(0))
        made = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert closed_form.num_params(config.model, shape, level) == made


@pytest.mark.parametrize(("mixer", "pooling"), [("attention", "mean"), ("gru", "max"), ("attention", "cls")])
def test_a_classifier_of_vectors_is_counted_too(mixer, pooling):
    changes = {"model.mixer": mixer, "model.attention": "reference", "model.causal": False, "model.pooling": pooling}
    config = with_overrides(BASE, changes)
    shape = Shape(config.task.seq_len, outputs=3, input_dim=5, pooled=True)
    model = models.build(config.model, shape)
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert closed_form.num_params(config.model, shape) == sum(leaf.size for leaf in jax.tree.leaves(params))
    vectors = jax.ShapeDtypeStruct((config.task.batch_size, config.task.seq_len, 5), "float32")
    gradient = jax.grad(lambda params, x: model.apply(params, x).sum())
    counted = flops.count(gradient, params, vectors).matmul_flops
    # the gradient of a sum through the last layer needs one product less than that of a loss
    assert counted == pytest.approx(closed_form.matmul_flops(Work(config, shape)), rel=0.02)


@pytest.mark.parametrize("mixer", ["attention", "gru", "lstm"])
def test_the_head_costs_what_the_steps_do_that_are_asked(mixer):
    """Of 36 steps 3 are answered: the count of a loss's gradient on a batch of the task."""
    sizes = {"task.name": "associative_recall", "task.num_items": 3, "task.vocab_size": 900}
    config = with_overrides(BASE, sizes | {"model.mixer": mixer, "model.attention": "reference"})
    task = associative_recall.build(config)
    model = models.build(config.model, task.shape)
    loss = make_loss(model, task.objective.minimised)
    gradient = jax.grad(lambda params, batch: loss(params, batch, None)[0])
    counted = flops.count(gradient, jax.eval_shape(model.init, jax.random.key(0)), next(task.train(0))).matmul_flops
    assert counted == pytest.approx(closed_form.matmul_flops(Work(config, task.shape)), rel=0.01)
    everywhere = closed_form.matmul_flops(Work(config, task.shape._replace(asked=None)))
    assert everywhere > 1.4 * counted


def test_a_block_costs_what_the_literature_says():
    """24 T d^2 + 4 T^2 d for attention; 16 T d^2 in place of 8 T d^2 + 4 T^2 d for an LSTM layer."""
    T, d = 128, 32
    config = Config(ModelConfig(d_model=d, num_heads=4, attention="reference"), TaskConfig(seq_len=T, batch_size=1))
    assert closed_form.matmul_flops(work(config, "block", "forward")) == 24 * T * d**2 + 4 * T**2 * d
    lstm = with_overrides(config, {"model.mixer": "lstm"})
    assert closed_form.matmul_flops(work(lstm, "block", "forward")) == 16 * T * d**2 + 16 * T * d**2


def test_attention_crosses_an_lstm_at_twice_the_width():
    """8 T d^2 + 4 T^2 d = 16 T d^2 at T = 2 d, and a GRU (12 T d^2) at T = d: whole blocks differ by the mixer only."""
    d = 32
    for mixer, crossing in (("lstm", 2 * d), ("gru", d)):
        for T, sign in ((crossing // 2, -1), (crossing, 0), (2 * crossing, 1)):
            overrides = {"model.d_model": d, "model.num_heads": 4, "model.attention": "reference"}
            attention = with_overrides(BASE, overrides | {"task.seq_len": T})
            recurrent = with_overrides(attention, {"model.mixer": mixer})
            costs = [closed_form.matmul_flops(work(config, "block", "forward")) for config in (attention, recurrent)]
            difference = costs[0] - costs[1]
            assert (difference > 0) - (difference < 0) == sign


@pytest.mark.parametrize("mixer", ["rnn", "gru", "lstm", "min_gru"])
@pytest.mark.parametrize("quantity", ["params", "flops"])
def test_matching_keeps_its_promise(mixer, quantity):
    config = with_overrides(BASE, {"model.d_model": 96, "model.mixer": mixer, "task.seq_len": 512})
    shape = next_token(config)
    solved = matched(config, shape, quantity)
    goal = with_overrides(config, {"model.mixer": "attention"})
    size = {
        "params": lambda c: sum(
            leaf.size for leaf in jax.tree.leaves(jax.eval_shape(models.build(c.model, shape).init, jax.random.key(0)))
        ),
        "flops": lambda c: closed_form.matmul_flops(Work(c, shape)),
    }[quantity]
    assert size(solved) == pytest.approx(size(goal), rel=TOLERANCE[quantity])
    kept = solved.model.__dict__ | {"recurrent_dim": None}
    assert kept == config.model.__dict__


def test_same_width_and_attention_are_left_alone():
    for mixer, quantity in (("lstm", "width"), ("attention", "flops")):
        config = with_overrides(BASE, {"model.mixer": mixer})
        assert matched(config, next_token(config), quantity) == config


def test_flops_matching_widens_the_state_with_length():
    """Attention's FLOPs per token grow with T, so an RNN of equal cost may keep more."""

    def width(T):
        overrides = {"model.mixer": "lstm", "model.attention": "reference", "task.seq_len": T}
        config = with_overrides(BASE, overrides)
        return matched(config, next_token(config), "flops").model.recurrent_dim

    assert width(64) < width(512) < width(4096)
