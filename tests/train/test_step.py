"""One training step: golden numbers, micro-batches, what is skipped, low precision; its learning rate."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape, TrainConfig
from transformer_jax.tasks.objectives import cross_entropy
from transformer_jax.train.checkpoint import CheckpointError, Checkpoints
from transformer_jax.train.optimizer import learning_rate, make_optimizer
from transformer_jax.train.state import create
from transformer_jax.train.step import gradient, make_loss, train_step

SMALL = dict(d_model=8, num_heads=2, num_layers=2, mlp_dim=12, max_len=16)
SHAPE = Shape(5, 7, vocab_size=7)
ENTROPY = cross_entropy().terms
TRAIN = TrainConfig(peak_lr=1e-2, warmup_steps=2, num_steps=10, schedule="cosine")


def batch_of(size=6, length=5):
    tokens = np.random.default_rng(3).integers(0, 7, (size, length + 1)).astype(np.int32)
    weights = np.ones((size, length), np.float32)
    weights[0, 2:] = 0
    weights[-1] = 0
    return {"inputs": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights}


@cache
def built(**variant):
    model = models.build(ModelConfig(**SMALL | variant), SHAPE)
    return model, jax.jit(model.init)(jax.random.key(0))


def begin(model, train=TRAIN):
    return jax.jit(lambda: create(model.init(jax.random.key(0)), make_optimizer(train), jax.random.key(1)))()


@pytest.mark.parametrize(
    ("mixer", "losses", "norms"),
    [
        ("attention", (2.853202, 2.610826), (12.368254, 12.361320)),
        ("lstm", (2.880654, 2.722505), (15.309624, 15.302603)),
    ],
)
def test_golden_steps(mixer, losses, norms):
    """Loss before, and global norm of the parameters after, each of two steps; the same on every jax."""
    model = models.build(ModelConfig(**SMALL, mixer=mixer, position="sinusoidal"), SHAPE)
    step = partial(train_step, loss_fn=make_loss(model, ENTROPY), tx=make_optimizer(TRAIN))
    step, norm = jax.jit(step), jax.jit(optax.tree.norm)
    state, found = begin(model), []
    for _ in range(2):
        state, metrics = step(state, batch_of())
        found.append((metrics["loss"][0] / metrics["loss"][1], norm(state.params)))
    np.testing.assert_allclose(np.array(found).T, (losses, norms), rtol=5e-6)
    assert int(state.step) == 2


def test_micro_batches_give_the_gradient_of_the_whole():
    """Although the parts hold 7, 10, and 5 tokens that count."""
    (model, params), key = built(), jax.random.key(1)
    whole, sums = jax.jit(partial(gradient, make_loss(model, ENTROPY)))(params, batch_of(), key)
    parts, sums_of_parts = jax.jit(partial(gradient, make_loss(model, ENTROPY), micro_batches=3))(
        params, batch_of(), key
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6), (whole, sums), (parts, sums_of_parts))
    assert float(sums["loss"][1]) == 22


@pytest.mark.parametrize("mixer", ["attention", "rnn", "gru", "lstm", "min_gru"])
def test_padding_changes_nothing(mixer):
    """Neither what it holds nor how much of it there is moves the loss or the gradient."""
    model = models.build(
        ModelConfig(**SMALL | {"num_layers": 1}, mixer=mixer, causal=False), Shape(9, 3, vocab_size=7, pooled=True)
    )
    params, random = jax.jit(model.init)(jax.random.key(0)), np.random.default_rng(0)
    compute = jax.jit(partial(gradient, make_loss(model, ENTROPY)))
    tokens, lengths = random.integers(0, 7, (4, 9)).astype(np.int32), np.array([9, 1, 4, 3], np.int32)
    batch = {"inputs": tokens, "targets": np.array([2, 0, 1, 1]), "lengths": lengths}

    def other_padding(batch):
        padding = random.integers(0, 7, (4, 9)).astype(np.int32)
        return batch | {"inputs": np.where(np.arange(9) < lengths[:, None], tokens, padding)}

    batch["weights"] = np.array([1, 1, 1, 0], np.float32)
    first, again = compute(params, batch, None), compute(params, other_padding(batch), None)
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    only = batch | {"weights": np.array([0, 0, 1, 0], np.float32)}
    alone = {"inputs": tokens[2:3, :4], "targets": np.array([1]), "weights": np.ones(1, np.float32)}
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6),
        compute(params, only, None),
        compute(params, alone, None),
    )


def infinite_gradient(params, batch, key):
    """A finite loss whose gradient is not: the derivative of sqrt at zero."""
    loss = jnp.sqrt(jnp.sum(params["w"] * batch["inputs"]))
    return loss, {"loss": (loss, jnp.ones(()))}


@pytest.mark.parametrize("skip", [True, False])
def test_a_finite_loss_with_an_infinite_gradient(skip):
    tx = make_optimizer(TRAIN)
    state = create({"w": jnp.ones(3)}, tx, jax.random.key(0))
    step = jax.jit(partial(train_step, loss_fn=infinite_gradient, tx=tx, skip_nonfinite=skip))
    after, metrics = step(state, {"inputs": jnp.zeros(3)})
    assert int(after.step) == 1
    if skip:
        assert np.array_equal(after.params["w"], state.params["w"])
        assert jax.tree.all(jax.tree.map(np.array_equal, after.opt_state, state.opt_state))
        assert metrics["skipped"][0] == 1 and metrics["loss"] == (0, 0)
    else:
        assert metrics["loss"][0] == 0 and not np.isfinite(metrics["grad_norm"][0])


def test_bfloat16_trains_float32_parameters():
    exact, low = (models.build(ModelConfig(**SMALL, dtype=d, remat=True), SHAPE) for d in ("float32", "bfloat16"))
    steps = [
        jax.jit(partial(train_step, loss_fn=make_loss(m, ENTROPY), tx=make_optimizer(TRAIN))) for m in (exact, low)
    ]
    state = begin(exact)
    (after, metrics), (after_low, metrics_low) = (step(state, batch_of()) for step in steps)
    assert {leaf.dtype for leaf in jax.tree.leaves(after_low.params)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(metrics_low["loss"][0], metrics["loss"][0], rtol=0.02)
    assert metrics_low["loss"][0] != metrics["loss"][0]


def test_label_smoothing_counts_in_training_alone():
    model, params = built()
    losses = (jax.jit(make_loss(model, cross_entropy(smoothing).minimised)) for smoothing in (0.0, 0.3))
    plain, smooth = (loss(params, batch_of(), None)[1]["loss"][0] for loss in losses)
    log_probabilities = jax.jit(lambda inputs: jax.nn.log_softmax(model.apply(params, inputs)))(batch_of()["inputs"])
    uniform = -np.sum(np.mean(log_probabilities, -1) * batch_of()["weights"])
    np.testing.assert_allclose(smooth, 0.7 * plain + 0.3 * uniform, rtol=1e-5)


def step_without_anchor(state, batch, *, loss_fn, tx):
    """The step as it would be if it knew no anchor."""
    key = jax.random.fold_in(state.key, state.step)
    grads, metrics = gradient(loss_fn, state.params, batch, key)
    norm = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = metrics | {"grad_norm": (norm, jnp.ones_like(norm))}
    return state.replace(params=params, opt_state=opt_state, step=state.step + 1), metrics


def test_no_anchor_costs_nothing():
    """The program is the same, letter by letter, before and after compilation."""
    model, _ = built()
    options = {"loss_fn": make_loss(model, ENTROPY), "tx": make_optimizer(TRAIN)}
    state = begin(model)

    def step(state, batch, function):
        return function(state, batch, **options)

    lowered = [jax.jit(partial(step, function=f)).lower(state, batch_of()) for f in (train_step, step_without_anchor)]
    assert lowered[0].as_text() == lowered[1].as_text()
    compiled = [re.sub(r", metadata=\{[^}]*\}", "", each.compile().as_text()) for each in lowered]
    bodies = [text[text.index("ENTRY") :] for text in compiled]
    assert bodies[0] == bodies[1]


def flat_loss(params, batch, key):
    """A loss that pulls the parameter to the mean of the inputs, weighted; and nothing where there are none."""
    weight = jnp.sum(batch["weights"])
    loss_sum = jnp.sum(batch["weights"] * (params["w"] - batch["inputs"]) ** 2)
    return loss_sum / jnp.where(weight == 0, 1, weight), {"loss": (loss_sum, weight)}


def pull(params, anchor, batch):
    """Elastic weight consolidation's form: strength / 2 * sum of fisher * (w - w*)^2."""
    squares = jax.tree.map(lambda w, old, f: jnp.sum(f * (w - old) ** 2), params, anchor["params"], anchor["fisher"])
    return anchor["strength"] / 2 * sum(jax.tree.leaves(squares))


def anchored(value=3.0):
    fisher, old = {"w": jnp.array([1.0, 4.0])}, {"w": jnp.array([value, value])}
    return {"params": old, "fisher": fisher, "strength": jnp.float32(0.5)}


def numbers(count=6):
    return {"inputs": jnp.linspace(-1, 1, count)[:, None] * jnp.ones(2), "weights": jnp.ones((count, 2))}


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_a_quadratic_penalty_pulls_as_its_closed_form_does(micro_batches):
    """And once a step, however many micro-batches. Gradient descent: w - rate * (loss' + strength * F (w - w*))."""
    tx = optax.sgd(0.1)
    state = create({"w": jnp.array([1.0, -2.0])}, tx, jax.random.key(0), anchored())
    step = partial(train_step, loss_fn=flat_loss, tx=tx, penalty=pull, micro_batches=micro_batches)
    step, w = jax.jit(step), np.array([1.0, -2.0])
    for _ in range(3):
        state, metrics = step(state, numbers())
        distance = w - 3
        value = 0.25 * np.sum([1.0, 4.0] * distance**2)
        slope = 2 * w / 2 + 0.5 * np.array([1.0, 4.0]) * distance  # the loss is a mean over two columns
        np.testing.assert_allclose(metrics["penalty"][0], value, rtol=1e-5)
        np.testing.assert_allclose(metrics["grad_norm"][0], np.linalg.norm(slope), rtol=1e-5)
        w = w - 0.1 * slope
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-5)
    assert metrics["loss"][1] == 12 and state.anchor["params"]["w"].tolist() == [3, 3]


def path_integral(anchor, params, grads, updates):
    """Synaptic intelligence (Zenke et al. 2017, arXiv 1703.04200): minus the sum of gradient times step."""
    return anchor | {"path": jax.tree.map(lambda path, g, u: path - g * u, anchor["path"], grads, updates)}


def test_an_observer_adds_up_a_path_integral():
    """Of the loss' own gradient, without the penalty; for small steps it is the loss that was gained."""
    tx = optax.sgd(1e-3)
    anchor = anchored() | {"path": {"w": jnp.zeros(2)}}
    state = create({"w": jnp.array([1.0, -2.0])}, tx, jax.random.key(0), anchor)
    step = jax.jit(partial(train_step, loss_fn=flat_loss, tx=tx, penalty=pull, observe=path_integral))
    before, expected = flat_loss(state.params, numbers(), None)[0], np.zeros(2)
    for _ in range(50):
        w = np.asarray(state.params["w"], np.float64)
        state, _ = step(state, numbers())
        expected += w * 1e-3 * (w + 0.5 * np.array([1.0, 4.0]) * (w - 3))
    np.testing.assert_allclose(state.anchor["path"]["w"], expected, rtol=1e-4)
    gained = before - flat_loss(state.params, numbers(), None)[0]
    np.testing.assert_allclose(np.sum(expected), gained, rtol=0.02)


def test_what_is_skipped_is_not_observed():
    tx = optax.sgd(0.1)
    state = create({"w": jnp.ones(3)}, tx, jax.random.key(0), {"path": {"w": jnp.full(3, 7.0)}})
    step = partial(train_step, loss_fn=infinite_gradient, tx=tx, observe=path_integral, skip_nonfinite=True)
    after, metrics = jax.jit(step)(state, {"inputs": jnp.zeros(3)})
    assert metrics["skipped"][0] == 1 and after.anchor["path"]["w"].tolist() == [7, 7, 7]
    after, metrics = jax.jit(step)(state, {"inputs": jnp.ones(3)})
    assert metrics["skipped"][0] == 0 and np.all(after.anchor["path"]["w"] > 7)


def test_a_checkpoint_holds_the_anchor(tmp_path):
    def state_of(value):
        return create({"w": jnp.full(2, value)}, optax.sgd(0.1), jax.random.key(0), anchored(value))

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, state_of(3.0), meta={}, score=None)
    state, _ = checkpoints.restore(4, jax.eval_shape(lambda: state_of(0.0)))
    assert jax.tree.all(jax.tree.map(np.array_equal, state.anchor, anchored(3.0)))
    without = jax.eval_shape(lambda: state_of(0.0).replace(anchor=None))
    with pytest.raises(CheckpointError, match="not in the model: anchor/fisher/w, anchor/params/w, anchor/strength"):
        checkpoints.restore(4, without)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_learning_rate(schedule):
    config = TrainConfig(peak_lr=2.0, warmup_steps=4, num_steps=12, schedule=schedule, final_lr_fraction=0.1)
    left = np.clip(1 - (np.arange(15) - 4) / 8, 0, 1)
    after = {"constant": np.ones(15), "linear": 0.1 + 0.9 * left, "cosine": 0.55 - 0.45 * np.cos(np.pi * left)}
    expected = 2 * np.where(np.arange(15) < 4, (np.arange(15) + 1) / 4, after[schedule])
    np.testing.assert_allclose(learning_rate(config)(jnp.arange(15)), expected, rtol=1e-6, atol=1e-6)


def test_only_matrices_decay():
    tx = make_optimizer(TrainConfig(peak_lr=1.0, weight_decay=0.5))
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones((3, 2)), "scale": jnp.ones(2)}
    updates, _ = jax.jit(lambda: tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params))()
    assert np.all(updates["kernel"] == -0.5) and not np.any(updates["bias"]) and not np.any(updates["scale"])
