"""Of how long a sequence can one training step of a language model be done on this machine?

By bisection over the length, for each implementation of attention and for recurrences. Every try is a process of its
own: it may use so much memory and no more (by default nine tenths of what is free as the cell begins), so that running
out ends nothing else, and it has a minute to compile and to do the step. A row is a try; all rows of a cell say where
the search ended and whether memory or time was the limit. On a CPU; an accelerator's memory has other rules.
"""

from dataclasses import dataclass

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, with_overrides
from transformer_jax.lab.sweep import Job, chain, grid
from transformer_jax.measure.work import NO_STEP_READS
from transformer_jax.typed import at_least, require

OF_FREE = 0.9
TRIES = 24  # more than doubling from 1 to a million takes


@dataclass(frozen=True)
class Limits(MeasureConfig):
    memory_gib: float | None = None
    """Memory of a try, the process itself included; None: nine tenths of what is free as the cell begins."""
    try_seconds: float = 60.0
    """Time of a try: compiling and one step."""
    halvings: int = 2
    """How often the bracket is halved: after h, its ends are a factor 2^(1 / 2^h) apart."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "measure", "halvings", 0)
        for name in ("memory_gib", "try_seconds"):
            value = getattr(self, name)
            require(value is None or value > 0, f"measure.{name}={value}: must be positive")


BASE = Config(
    model=ModelConfig(d_model=64, num_layers=2, num_heads=4, max_len=2**20),
    task=TaskConfig(seq_len=1024, batch_size=1, vocab_size=256),  # the first length that is tried
    measure=Limits(rounds=1),
)
STUDIES = {
    "longest": chain(
        grid({"model.mixer": ["attention"], "model.attention": ["reference", "xla", "blockwise", "auto"]}),
        grid({"model.mixer": ["rnn", "gru", "lstm", "min_gru"], "model.attention": ["auto"]}),
    )
}
SWEEPS = ("model.mixer", "model.attention")
UNREAD = (*NO_STEP_READS, "measure.min_sample_seconds")


def time_limit(config: Config) -> float:
    """Seconds that a cell may take."""
    return TRIES * (config.measure.try_seconds + 60)


def cell(config: Config, job: Job) -> list[dict]:
    """The tries of one search, in their order, each with what the search found."""
    from transformer_jax.host.exhaustion import available_bytes
    from transformer_jax.measure.longest import attempt, search

    limits = config.measure
    free = limits.memory_gib is None
    limit_bytes = int(OF_FREE * available_bytes() if free else limits.memory_gib * 2**30)

    def at(T: int):
        return attempt(with_overrides(config, {"task.seq_len": T}), limit_bytes, limits.try_seconds)

    found = search(at, config.task.seq_len, config.model.max_len, limits.halvings)
    shared = {"limit_bytes": limit_bytes, "longest_len": found.longest_len, "too_long": found.too_long}
    shared |= {"limited_by": found.limited_by}
    return [shared | {"order": order} | one._asdict() for order, one in enumerate(found.tries)]
