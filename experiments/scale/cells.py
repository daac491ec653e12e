"""Does the softmax of attention need the scale by √d?

Nothing is trained: queries and keys are independent normal numbers, as before training, of widths from 16 to 1,024.
Looked at are the entropy of their softmax and the gradient that passes it. A row for each width and draw.
"""

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TrainConfig, flatten
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.typed import require

WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
KEYS = 64
_SCORES = ("scaled_dot", "dot", "cosine")  # those without weights of their own

BASE = Config(ModelConfig(score="scaled_dot"), train=TrainConfig(lanes=5), measure=MeasureConfig(rounds=1))
STUDIES = {"scale": grid({"model.score": ["scaled_dot", "dot"]})}
SWEEPS = ("model.score",)
SIDE_BY_SIDE = True  # nothing is timed
_READ = ("model.score", "train.lanes", "train.seed", "measure.rounds")
UNREAD = tuple(key for key in flatten(BASE) if key not in _READ)
TAKES = {"quick": "five seconds on 2 shared cores of an AMD EPYC"}


def check(config: Config) -> None:
    """ConfigError: a score with weights."""
    score = config.model.score
    require(score in _SCORES, f"model.score={score}: this experiment compares {', '.join(_SCORES)}")


def cell(config: Config, job: Job) -> list[dict]:
    """What `measure.saturation.rows` finds; a lane is a draw of queries and keys."""
    from transformer_jax.measure import saturation  # here, as jax takes seconds to load and a plan has no need of it

    return saturation.rows(config.model.score, WIDTHS, KEYS, config.train.lanes, job.seed)
