"""How long does a language model of letters train to a given loss, with attention and with a GRU or LSTM?

Tiny Shakespeare where it is prepared, else numbers in words. All models have as many parameters and read 1,024 letters
a step, in windows of 64 or 256. A cell chooses its learning rate on a seed of its own and trains five others up to the
loss; the time of a step is that of one lane alone, measured in turns with attention's where it is a recurrence's.
"""

import itertools
from dataclasses import dataclass

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig, with_overrides
from transformer_jax.lab.sweep import Job, Override, chain, grid
from transformer_jax.measure.work import Matched
from transformer_jax.tasks import place, sets

RATES = (2e-3, 5e-3, 1e-2)
MORE_RATES = (5e-4, 1e-3, *RATES)
CHOOSING = 400  # steps of the training that chooses the rate
TARGETS = {"shakespeare_char": 2.0, "number_words": 0.32}  # nats a letter
SHAKESPEARE, VALIDATED = "tiny_shakespeare", 16  # batches of the validation split that are evaluated


@dataclass(frozen=True)
class Axes(Matched):
    more_rates: bool = False
    """The rate is chosen among five, not three."""


_PREPARED = bool(place.folders(SHAKESPEARE, place.data_dir(TaskConfig())))
BASE = Config(
    model=ModelConfig(d_model=64, num_layers=2, num_heads=4, max_len=256, position="rotary", scan_layers=False),
    task=TaskConfig(name="shakespeare_char" if _PREPARED else "number_words", seq_len=64, batch_size=16),
    train=TrainConfig(num_steps=1000, warmup_steps=50, beta2=0.99, weight_decay=0.01, lanes=5, chunk_steps=25,
                      eval_every=25, checkpoint_every=200),
    measure=Axes(rounds=1, min_sample_seconds=0.5),
)  # fmt: skip
ATTENTION, RECURRENT = {"model.mixer": ["attention"]}, {"model.mixer": ["gru", "lstm"]}


def _windows(*lengths: int, letters: int = 1024, flops: bool = False, **axes: list) -> list[Override]:
    """As many letters a step in windows of each length, read by all; flops: recurrences match attention's of a step."""
    more, matching = {key.replace("__", "."): values for key, values in axes.items()}, {"measure.matching": ["flops"]}
    sizes = [{"task.seq_len": [T], "task.batch_size": [letters // T]} | more for T in lengths]
    return chain(*(grid(one | ATTENTION) + grid(one | RECURRENT | (matching if flops else {})) for one in sizes))


_LARGE = {"letters": 16_384, "model__d_model": [256], "model__max_len": [1024], "train__num_steps": [4000],
          "train__warmup_steps": [100], "measure__more_rates": [True]}  # fmt: skip
STUDIES = {"speed": _windows(64, 256)}
FULL = {
    "speed": _windows(64, 256, **_LARGE),
    "flops": _windows(64, 256, flops=True, **_LARGE),
    "long": _windows(1024, **_LARGE),
}
TASKS = tuple(TARGETS)
SWEEPS = ("model.mixer",)
UNREAD = ("train.peak_lr", "train.lane_lrs", "train.same_seed", "train.nan_policy")
time_limit = 3600.0  # seconds of a cell, beside half a second a step
TAKES = {"quick": "4 minutes on 2 shared cores of an AMD EPYC"}


def data(config: Config) -> dict[str, str]:
    """The SHA-256 of the text; numbers in words are generated. MissingData: it is not prepared."""
    read = config.task.name == "shakespeare_char"
    return sets.digests(sets.open_set(SHAKESPEARE, place.data_dir(config.task))) if read else {}


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on, and then times a step; a row for each lane."""
    from transformer_jax.lab import trial, tuned  # here, as jax takes seconds to load
    from transformer_jax.measure import in_turns
    from transformer_jax.measure.matching import matched
    from transformer_jax.measure.work import Work
    from transformer_jax.tasks import number_words, shakespeare

    target, attention = TARGETS[config.task.name], config.model.mixer == "attention"
    whole = (shakespeare if config.task.name == "shakespeare_char" else number_words).build(config)
    task = whole._replace(evaluate=lambda split: itertools.islice(whole.evaluate(split), VALIDATED))
    config = matched(config, task.shape, config.measure.matching)
    rates = MORE_RATES if config.measure.more_rates else RATES
    asked = {"steps": min(CHOOSING, config.train.num_steps), "there": lambda row: row["loss"] <= target}
    of = tuned.train(job.seeded(config), task, job.folder, rates, stop=True, **asked)
    steps = of.fell_to("loss", target)
    last = {row["lane"]: row for row in trial.curve(of.folder, "validation")}
    works = {"": config} | ({} if attention else {"twin_": with_overrides(config, {"model.mixer": "attention"})})
    works = {name: Work(one, task.shape) for name, one in works.items()}
    times = in_turns.step_seconds(works, config.train.lanes, config.measure.min_sample_seconds)
    shared = of.columns | {"target": target, "parameters": trial.num_params(config, task) // config.train.lanes}
    return [shared | last[lane] | {"steps": steps.get(lane)} | timed for lane, timed in enumerate(times)]
