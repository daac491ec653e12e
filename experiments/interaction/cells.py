"""Does an early input of one layer act on a late output directly, or only by way of the steps in between?

The Jacobian of the last output by every earlier input of a mixer alone, before training, one seed a lane: its norm over
the distance, and what is left of it when all that the steps in between hand on (keys and values, or the state) is held
fixed; `measure/interaction.py` defines both. A row for each lane and lag.
"""

from dataclasses import dataclass

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig, flatten
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.typed import at_least, require


@dataclass(frozen=True)
class Axes(MeasureConfig):
    forget_bias: float = 1.0
    """The bias of an LSTM's forget gate at the start."""


BASE = Config(ModelConfig(d_model=64, num_heads=4), TaskConfig(seq_len=32), TrainConfig(lanes=5), Axes(rounds=1))
STUDIES = {
    "mixer": grid({"model.mixer": ["attention", "rnn", "gru", "lstm", "min_gru"]}),
    "start": grid({"model.mixer": ["lstm"], "measure.forget_bias": [1.0, 3.0, 5.5]}),
}
SWEEPS = ("model.mixer", "measure.forget_bias")
TAKES = {"quick": "a quarter of a minute on 2 shared cores of an AMD EPYC"}
_READ = (
    "model.mixer", "model.d_model", "model.num_heads", "model.num_kv_heads", "model.head_dim", "model.recurrent_dim",
    "model.score", "model.position", "model.max_len", "model.dtype", "task.seq_len", "train.lanes", "train.seed",
    "measure.forget_bias", "measure.rounds",
)  # fmt: skip
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = tuple(key for key in flatten(BASE) if key not in _READ)


def check(config: Config) -> None:
    """ConfigError: too few lanes or steps, or a bias of what has no forget gate."""
    at_least(config.train, "train", "lanes", 2)
    at_least(config.task, "task", "seq_len", 4)
    bias, mixer = config.measure.forget_bias, config.model.mixer
    require(bias == 1 or mixer == "lstm", f"measure.forget_bias={bias}: {mixer} has no forget gate; lstm has")


def cell(config: Config, job: Job) -> list[dict]:
    """What `measure.interaction.rows` finds."""
    from transformer_jax.measure import interaction  # here, as jax takes seconds to load and a plan has no need of it

    seeds = range(job.seed, job.seed + config.train.lanes)
    return interaction.rows(config.model, config.task.seq_len, seeds, config.measure.forget_bias)
