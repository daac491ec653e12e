"""What a run compiles: the first state, a chunk of training steps, the metrics of one evaluation batch.

Lanes are one vmapped step: docs/notes/training.md has what other forms took.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from transformer_jax.config import TrainConfig
from transformer_jax.tasks.task import Objective
from transformer_jax.train.anchored import Anchored, moving
from transformer_jax.train.decode import greedy
from transformer_jax.train.optimizer import make_optimizer
from transformer_jax.train.state import TrainState, create
from transformer_jax.train.step import Metrics, held, make_loss, train_step


class Programs(NamedTuple):
    """With more than one lane every leaf of the state, and every metric, has a leading axis of lanes.

    init() -> state
    run_chunk(state, batches) -> (state, metrics): batches and metrics have a leading axis of steps, batches
      one of lanes after it; the state given is donated
    evaluate(params, batch) -> metrics: all lanes see the same batch
    judge(params, batches) -> metrics of one lane's parameters over a whole split; None: the objective has no judge
    write(params, source_BxS, source_lengths_B) -> tokens_BxN that one lane's parameters find the likeliest one after
      another (`decode.greedy`), jitted; None: the objective does not say how an answer is written
    """

    init: Callable[[], TrainState]
    run_chunk: Callable[[TrainState, Any], tuple[TrainState, Metrics]]
    evaluate: Callable[[Any, Any], Metrics]
    judge: Callable[[Any, Any], dict[str, float]] | None
    write: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None


class _Given(NamedTuple):
    """A jitted function whose first argument is given. It is no constant of the program: runs that differ in it alone,
    in their learning rates and in how many steps they have, find each other's program in the compilation cache."""

    program: Any
    first: Any

    def __call__(self, *args):
        return self.program(self.first, *args)

    def lower(self, *args):
        return self.program.lower(self.first, *args)


def build(model, objective: Objective, config: TrainConfig, anchored: Anchored | None = None) -> Programs:
    """The jitted programs of a model and an objective; a lane computes what a run alone with its seed and rate does.

    A second call finds what the first one traced and compiled.

    anchored: what the run does with its anchor; None: it has none.
    """
    return _build(model, objective, config, anchored)


@lru_cache(maxsize=8)  # whose keys tell an argument that is left out from one that is None
def _build(model, objective: Objective, config: TrainConfig, anchored: Anchored | None) -> Programs:
    # NumPy's: what jax.numpy does to numbers before the first step are programs, each to be compiled and loaded
    lrs = np.asarray(config.lane_lrs or (config.peak_lr,) * config.lanes, np.float32)
    seeds = np.asarray(lane_seeds(config, anchored), np.uint32)
    loss_fn = held(make_loss(model, objective.minimised), model.frozen)
    metrics_fn = make_loss(model, objective.terms)

    def optimizer(lr, num_steps):
        tx = make_optimizer(config, lr, model.frozen, num_steps)
        return tx if anchored is None else optax.chain(moving(), tx)

    def init(seed, lr):
        params_key, step_key = jax.random.split(jax.random.key(seed))
        return create(model.init(params_key), make_optimizer(config, lr, model.frozen), step_key)

    def step(state, batch, lr, num_steps):
        return train_step(
            state,
            batch,
            loss_fn=loss_fn,
            tx=optimizer(lr, num_steps),
            micro_batches=config.micro_batches,
            skip_nonfinite=config.nan_policy == "skip",
            penalty=anchored and anchored.penalty,
            observe=anchored and anchored.observe,
        )

    def evaluate(params, batch):
        return metrics_fn(params, batch, None)[1]

    if config.lanes > 1:
        step, evaluate = jax.vmap(step, in_axes=(0, 0, 0, None)), jax.vmap(evaluate, in_axes=(0, None))
        init = _one_after_another(init)  # vmapped QR, which makes matrices orthogonal, hung on a CPU (jax 0.10.2)
    else:
        seeds, lrs = seeds[0], lrs[0]

    def run_chunk(given, state, batches):
        return jax.lax.scan(lambda state, batch: step(state, batch, *given), state, batches)

    write = None if objective.decoding is None else jax.jit(partial(greedy, model, decoding=objective.decoding))

    def judge(params, batches):
        def written(batch):
            return jax.device_get(write(params, batch["source"], batch["source_lengths"]))

        return objective.judge(written, batches)

    first = partial(jax.jit(init), seeds, lrs)

    def begin():
        """What an anchor adds stands outside the program that draws the parameters, so that these keep their bits."""
        state = first()
        anchor = (jax.vmap(anchored.begin) if config.lanes > 1 else anchored.begin)(state.params)
        moves = moving().init(state.params)
        return state.replace(opt_state=(moves, state.opt_state), anchor=jax.tree.map(jnp.copy, anchor))

    return Programs(
        first if anchored is None else begin,
        _Given(jax.jit(run_chunk, donate_argnums=1), (lrs, np.int32(config.num_steps))),
        jax.jit(evaluate),
        None if objective.judge is None else judge,
        write,
    )


def _one_after_another(fn: Callable) -> Callable:
    return lambda *lanes: jax.lax.map(lambda lane: fn(*lane), lanes)


def lane_seeds(config: TrainConfig, anchored: Anchored | None = None) -> list[int]:
    """The seed of each lane: seed, seed + 1, ..., or seed for all (`train.same_seed`), or those of `anchored`."""
    if anchored is not None and anchored.seeds:
        return list(anchored.seeds)
    return [config.seed + (0 if config.same_seed else lane) for lane in range(config.lanes)]
