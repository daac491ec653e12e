"""Does the gradient vanish or explode on its way back through a recurrence, and not through attention?

The norm of the gradient of the last output by what each earlier step reads, one seed a lane: of a mixer alone and of
two blocks before training, for other starts of LSTM and tanh-RNN, and before and after training on copying symbols over
a blank. A row for each lane and lag. The full size asks also for the singular values of one step's Jacobian, and how
the slope moves through training. What the norm has to do with a warm-up is asked by `experiment warm_up`.
"""

import math
from dataclasses import dataclass
from typing import Literal

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.typed import at_least, require


@dataclass(frozen=True)
class Axes(MeasureConfig):
    level: Literal["mixer", "stack", "trained", "step"] = "mixer"
    """A mixer alone; blocks of it; the same before and after `train.num_steps` steps of copy_memory; or what one step
    of a recurrence makes of its state."""
    forget_bias: float = 1.0
    """The bias of an LSTM's forget gate at the start, of an untrained one."""
    recurrent_scale: float = 1.0
    """What the recurrent matrix of a tanh-RNN, which starts orthogonal, is multiplied by, of an untrained one."""


BASE = Config(
    ModelConfig(d_model=64, num_layers=2, num_heads=4, max_len=256, attention="reference"),
    TaskConfig(name="copy_memory", seq_len=256, vocab_size=10, num_items=8, batch_size=16),
    TrainConfig(num_steps=100, warmup_steps=10, peak_lr=3e-3, lanes=5, eval_every=100, checkpoint_every=100),
    Axes(rounds=1),
)
EVERY = {"model.mixer": ["attention", "rnn", "gru", "lstm", "min_gru"]}
TRAINED = {"measure.level": ["trained"], "model.mixer": ["attention", "gru", "lstm"]}


def _untrained(**large: list) -> dict[str, list]:
    """The studies before training; large: axes of a size."""
    large = {key.replace("__", "."): values for key, values in large.items()}
    return {
        "mixer": grid(large | EVERY),
        "stack": grid(large | {"measure.level": ["stack"], "model.norm": ["pre", "post"]} | EVERY),
        "start": grid(large | {"model.mixer": ["attention"]})
        + grid(large | {"model.mixer": ["lstm"], "measure.forget_bias": [0.0, 1.0, 3.0, 5.5]})
        + grid(large | {"model.mixer": ["rnn"], "measure.recurrent_scale": [1.0, 2.0, 3.0]}),
    }


STUDIES = _untrained() | {"trained": grid(TRAINED | {"task.seq_len": [64]})}
_LONG = TRAINED | {"task.batch_size": [64], "train.warmup_steps": [90], "train.lanes": [10]}
_STEP = {"measure.level": ["step"], "model.d_model": [128], "task.seq_len": [64], "train.lanes": [10]}
FULL = _untrained(model__d_model=[128], task__seq_len=[1024], model__max_len=[1024], train__lanes=[10]) | {
    "trained": grid(_LONG | {"train.num_steps": [6400]}),
    "through_training": grid(_LONG | {"train.num_steps": [100, 400, 1600, 6400]}),
    "spectrum": grid(_STEP | {"model.mixer": ["gru", "min_gru"]})
    + grid(_STEP | {"model.mixer": ["lstm"], "measure.forget_bias": [0.0, 1.0, 3.0, 5.5]})
    + grid(_STEP | {"model.mixer": ["rnn"], "measure.recurrent_scale": [1.0, 2.0, 3.0]}),
}  # fmt: skip
SWEEPS = ("model.mixer", "model.norm", "measure.forget_bias", "measure.recurrent_scale")
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds", "task.name", "model.attention", "model.recurrence", "model.scan_layers",
          "model.remat", "model.encoder_layers")  # fmt: skip
time_limit = 550.0  # seconds of a cell, beside half a second a step
TAKES = {"quick": "a minute on 2 shared cores of an AMD EPYC"}


def check(config: Config) -> None:
    """ConfigError: too few lanes or steps, or an axis that the mixer does not have."""
    mixer, measure = config.model.mixer, config.measure
    at_least(config.train, "train", "lanes", 2)
    at_least(config.task, "task", "seq_len", 32)
    for name, of in (("forget_bias", "lstm"), ("recurrent_scale", "rnn")):
        own, value = mixer == of and measure.level != "trained", getattr(measure, name)
        require(own or value == 1, f"measure.{name}={value}: it is for an untrained {of}")
    stateful = measure.level != "step" or mixer != "attention"
    require(stateful, "measure.level=step: attention hands on no state that a step replaces")


def cell(config: Config, job: Job) -> list[dict]:
    """What `measure.gradient_flow.rows` finds; of a trained stack before its first step and after the last."""
    from transformer_jax.measure import gradient_flow  # here, as jax takes seconds to load and a plan has no need of it

    model, measure, lanes = config.model, config.measure, config.train.lanes
    if measure.level != "trained":
        seeds, start = range(job.seed, job.seed + lanes), (measure.forget_bias, measure.recurrent_scale)
        if measure.level == "step":
            return gradient_flow.spectrum(model, config.task.seq_len, seeds, *start)
        return gradient_flow.rows(gradient_flow.untrained(model, measure.level, config.task.seq_len, seeds, *start))
    from transformer_jax.lab import trained, trial
    from transformer_jax.tasks import copy_memory

    if trial.train(job.seeded(config), copy_memory.build(config), job.folder).status == "nan":
        return [{"step": config.train.num_steps, "lane": lane, "slope": math.nan} for lane in range(lanes)]
    run = trained.restored(job.folder, copy_memory.build, "latest")
    tokens_BxT = next(iter(run.task.evaluate("validation")))["inputs"]
    found, blank = [], config.task.seq_len - config.task.num_items
    for step, params in ((0, run.run.init().params), (run.step, run.params)):
        norms_NxT = gradient_flow.of_tokens(model, params, tokens_BxT, job.seed)
        found += [{"step": step} | row for row in gradient_flow.rows(norms_NxT, blank)]
    return found
