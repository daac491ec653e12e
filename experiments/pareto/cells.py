"""What does a lower loss cost: in parameters, training FLOPs, seconds and state, with attention and with recurrences?

A language model of letters (numbers in words, generated) with attention, GRU, LSTM or minGRU at several widths. A cell
chooses its learning rate on a seed of its own, trains five others, and gives a row for each of them and what its model
costs without a clock. Seconds of a step are cells of their own, which time all mixers of a width in turns; so no cell
runs beside another.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig, with_overrides
from transformer_jax.lab.sweep import Job, Override, grid

RATES = (1e-3, 3e-3, 1e-2, 2e-2, 3e-2)
MIXERS = ("attention", "gru", "lstm", "min_gru")
VALIDATED = 16  # batches of the validation split that are evaluated


@dataclass(frozen=True)
class Axes(MeasureConfig):
    probe: Literal["loss", "seconds"] = "loss"
    """What is looked at: a trained model, or a training step of every mixer at its width."""


BASE = Config(
    model=ModelConfig(d_model=32, num_layers=2, num_heads=4, max_len=64, position="rotary", scan_layers=False),
    task=TaskConfig(name="number_words", seq_len=64, batch_size=8),
    train=TrainConfig(num_steps=200, warmup_steps=20, beta2=0.99, weight_decay=0.01, lanes=5, chunk_steps=25,
                      eval_every=50, checkpoint_every=100),
    measure=Axes(rounds=1, min_sample_seconds=0.2),
)  # fmt: skip


def _widths(*widths: int, **large: list) -> dict[str, list[Override]]:
    axes = {key.replace("__", "."): values for key, values in large.items()} | {"model.d_model": list(widths)}
    return {"loss": grid(axes | {"model.mixer": list(MIXERS)}), "seconds": grid(axes | {"measure.probe": ["seconds"]})}


STUDIES = _widths(16, 32, 64)
FULL = _widths(
    64, 128, 256, 512, task__seq_len=[256], task__batch_size=[64], model__max_len=[256], train__num_steps=[4000],
    train__warmup_steps=[200], train__eval_every=[500], train__checkpoint_every=[2000],
)  # fmt: skip
SWEEPS = ("model.mixer", "model.d_model")
TAKES = {"quick": "4 minutes on 2 shared cores of an AMD EPYC"}
UNREAD = ("train.peak_lr", "train.lane_lrs", "train.same_seed", "train.nan_policy")
time_limit = 800.0  # seconds of a cell, beside half a second a step


def cell(config: Config, job: Job) -> list[dict]:
    """By lane the validation loss after the last step; or by mixer and sample the seconds of a step."""
    from transformer_jax.lab import trial, tuned  # here, as jax takes seconds to load
    from transformer_jax.measure import closed_form, in_turns
    from transformer_jax.measure.work import Work
    from transformer_jax.tasks import number_words

    whole = number_words.build(config)
    task = whole._replace(evaluate=lambda split: itertools.islice(whole.evaluate(split), VALIDATED))
    if config.measure.probe == "seconds":
        works = {mixer: Work(with_overrides(config, {"model.mixer": mixer}), task.shape) for mixer in MIXERS}
        times = in_turns.step_seconds(works, config.train.lanes, config.measure.min_sample_seconds)
        return [{"timed": mixer, "sample": sample, "step_seconds": taken[f"{mixer}step_seconds"]}
                for sample, taken in enumerate(times) for mixer in MIXERS]  # fmt: skip
    of = tuned.train(job.seeded(config), task, job.folder, RATES, steps=config.train.num_steps // 2)
    last = {row["lane"]: row for row in trial.curve(of.folder, "validation")}  # steps rise: the last of each lane stays
    costs = closed_form.sizes(config, task.shape)
    costs["training_flops"] = costs.pop("step_flops") * config.train.num_steps
    costs["choosing_loss"] = of.tried[of.rate]  # of the seed that chose the rate, which no answer uses
    return [row | of.columns | costs for row in last.values()]
