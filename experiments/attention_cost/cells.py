"""What does attention cost against a recurrence: in time, FLOPs and memory, over length, heads and depth?

The op alone, one block and the whole model, forward and in training, and decoding, at equal width, parameters or FLOPs,
all in one run on one clock.
All programs are compiled first; then a pass samples every cell once, and what is compared with each other in a row.
"""

from dataclasses import dataclass

from configs import bench
from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab import timed
from transformer_jax.lab.sweep import Override, chain, grid
from transformer_jax.measure.work import NO_COST, NO_STEP_READS, Level, Matching, Phase, Work, next_token
from transformer_jax.typed import at_least, require


@dataclass(frozen=True)
class Axes(MeasureConfig):
    level: Level = "model"
    """The op that mixes time steps alone, one block, or the whole model."""
    phase: Phase = "train"
    """A forward pass, a full training step (forward, backward, AdamW), or one decoding step."""
    matching: Matching = "width"
    """What a recurrence shares with the attention model of the same config: width, parameters or FLOPs."""
    repeat: int = 0
    """Not 0: the same program measured again, so that a report knows how far it differs from itself."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "measure", "repeat", 0)
        possible = self.phase != "decode" or self.level == "model"
        require(possible, f"measure.phase=decode is measured on the whole model; measure.level={self.level} was given")


BASE = Config(bench.CONFIG.model, bench.CONFIG.task, bench.CONFIG.train, Axes(rounds=5))
BUDGET = 6 * 60.0  # seconds of a default run
UNREAD = (*NO_STEP_READS, *NO_COST)

LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096]
SPARSE = LENGTHS[::2]
BLOCK = [128, 512, 1024, 4096]  # `auto` runs one program from 128 on: a polynomial takes four lengths of one
WHOLE = [32, 64, 128, 256, 512, 1024, 4096]  # the two cross near 100: the order must be certain on either side
AUTO = {"model.mixer": ["attention"], "model.attention": ["auto"]}
REFERENCE = {"model.mixer": ["attention"], "model.attention": ["reference"]}  # stores every score: a wall, at short T
RECURRENT = {"model.mixer": ["rnn", "gru", "lstm", "min_gru"]}
PARALLEL = {"model.mixer": ["min_gru"], "model.recurrence": ["associative"]}  # no loop over time
LSTM = {"model.mixer": ["lstm"]}


def over(kinds, level: Level, phase: Phase, lengths, **axes) -> list[Override]:
    """A grid for each kind of mixer: an attention implementation means nothing to a recurrence, nor do heads."""
    measured = {"measure.level": [level], "measure.phase": [phase], "task.seq_len": lengths}
    more = {key.replace("__", "."): values for key, values in axes.items()}
    return [override for kind in kinds for override in grid(measured | kind | more)]


STUDIES = {
    # at three levels: where the quadratic term is all there is, and where it hides behind the rest
    "length": chain(
        over([AUTO], "op", "train", [*LENGTHS, 8192]),
        over([RECURRENT], "op", "train", LENGTHS),
        over([REFERENCE], "op", "train", LENGTHS[:-1]),
        over([PARALLEL], "op", "train", SPARSE),
        over([AUTO, LSTM], "op", "forward", SPARSE),
        over([AUTO, LSTM], "block", "train", BLOCK),
        over([AUTO, LSTM], "model", "train", WHOLE),
        over([AUTO, RECURRENT], "model", "forward", [128, 512, 4096]),
    ),
    "matching": over([AUTO], "model", "train", [128, 512, 4096])
    + over([LSTM], "model", "train", [128, 512, 4096], measure__matching=["width", "params", "flops"]),
    "heads": over([AUTO], "op", "train", [256, 1024], model__num_heads=[1, 2, 4, 8, 16]),
    "head_dim": over([AUTO], "op", "train", [256, 1024], model__num_heads=[1, 2, 8], model__head_dim=[16])
    + over([AUTO], "op", "train", [256, 1024]),  # 4 heads of width 64 / 4
    "model_heads": over([AUTO], "model", "forward", [512], model__num_heads=[1, 4, 16]),
    # from two blocks on: of one block there is no loop over blocks, which is another program
    "depth": over([AUTO], "model", "train", [512, 1024], model__num_layers=[2, 4, 8])
    + over([LSTM], "model", "train", [1024], model__num_layers=[2, 4, 8]),
    # one token, at the end of a context of T
    "decode": over([AUTO, LSTM], "model", "decode", SPARSE),
    # the same program once more: what this machine cannot tell apart
    "twins": over([AUTO, LSTM], "op", "train", [64, 512], measure__repeat=[0, 1])
    + over([AUTO, LSTM], "model", "forward", [512], measure__repeat=[0, 1]),
}


def check(config: Config) -> None:
    """ConfigError: a recurrence without an op that can be measured alone."""
    projects = config.model.recurrence == "cudnn" and "recurrence" not in config.model.unread
    possible = not projects or config.measure.level != "op"
    require(possible, "model.recurrence=cudnn projects its input itself: measure.level=op starts after that")


def work(config: Config) -> Work:
    """What the config says to measure; a recurrence's width is matched to attention as it says."""
    from transformer_jax.measure.matching import matched  # here, as jax takes seconds to load

    shape = next_token(config)
    return Work(matched(config, shape, config.measure.matching), shape, config.measure.level, config.measure.phase)


def group(config: Config) -> tuple:
    """Cells are compared within a level and a phase: their samples follow each other."""
    return config.measure.level, config.measure.phase


prepare, cell = timed.steps(work, group)
