"""How much of what was learned should a model protect, and how much should it let adapt?

A small transformer learns tasks one after another: handwritten digits whose pixels each task permutes, two digits at a
time, and recall of key-value pairs, each time with tokens of its own. A penalty draws parameters to what the tasks
before made of them, as strongly as their Fisher says (EWC) or all alike (L2): all of them, those of queries and keys,
or as many drawn at random. Strengths and seeds are lanes of one compiled step; a row for each lane.
"""

from dataclasses import dataclass

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.config.continual import ContinualConfig, StreamConfig
from transformer_jax.lab.sweep import Job, chain, grid
from transformer_jax.typed import require

SEEDS = 5
GRID = {"ewc": tuple(round(10 ** (0.75 * i), 1) for i in range(9)), "l2": tuple(10.0 ** (i - 5) for i in range(9))}
"""Strengths above 0, nine of each method: the mean of a Fisher is some thousandths, where L2 has 1."""
SETS = ("digits", "associative_recall")


@dataclass(frozen=True)
class ForgettingConfig(StreamConfig):
    def __post_init__(self):
        super().__post_init__()
        require(self.task.name in SETS, f"task.name={self.task.name}: this experiment trains on {' or '.join(SETS)}")


BASE = ForgettingConfig(
    model=ModelConfig(
        d_model=24, num_layers=2, num_heads=2, mlp_dim=48, position="learned", causal=False, max_len=32,
        attention="reference", scan_layers=False,
    ),
    task=TaskConfig(name="digits", patch_rows=1, seq_len=8, batch_size=32),
    train=TrainConfig(
        num_steps=80, peak_lr=3e-3, warmup_steps=8, beta2=0.99, weight_decay=0.0, lanes=SEEDS * 11, nan_policy="skip",
        eval_every=40, checkpoint_every=80,
    ),
    measure=MeasureConfig(rounds=1),
    continual=ContinualConfig(
        stream="permuted", scenario="domain", strengths=(0.0, *GRID["ewc"]), with_frozen=True, fisher_examples=100
    ),
)  # fmt: skip


def _variants(axes: dict, l2: bool = False) -> list[dict]:
    """EWC on all, on queries and keys, and on as many parameters drawn at random; L2 on all; all data of all tasks."""
    of_l2 = {"continual.method": ["l2"], "continual.strengths": [(0.0, *GRID["l2"])]}
    joint = {"continual.method": ["joint"], "continual.with_frozen": [False], "train.lanes": [SEEDS]}
    return chain(
        grid(axes | {"continual.part": ["all", "query_key"]}),
        grid(axes | {"continual.part": ["query_key"], "continual.control": [True]}),
        *([grid(axes | of_l2)] if l2 else []),
        grid(axes | joint),
    )


PERMUTED = {"continual.stream": ["permuted"], "continual.num_tasks": [4]}
SPLIT = {
    "continual.stream": ["split"], "continual.scenario": ["task", "class"], "train.num_steps": [60],
    "train.eval_every": [30], "train.checkpoint_every": [60],
}  # fmt: skip
RECALL = {
    "continual.stream": ["vocabularies"], "continual.scenario": ["class"], "continual.num_tasks": [2],
    "continual.fisher": ["sampled"], "task.name": ["associative_recall"], "task.vocab_size": [16],
    "task.patch_rows": [None], "train.num_steps": [240], "train.eval_every": [80], "train.checkpoint_every": [240],
}  # fmt: skip
STUDIES = {
    "permuted": _variants(PERMUTED, l2=True),
    "split": _variants(SPLIT),
    "recall": _variants(RECALL | {"task.num_items": [2], "task.seq_len": [8]}),
    "memory": chain(
        grid(RECALL | {"task.num_items": [2], "task.seq_len": [8, 16], "continual.part": ["all"]}),
        grid(RECALL | {"task.num_items": [4], "task.seq_len": [16], "continual.part": ["all"]}),
    ),
}
SWEEPS = ("model.mixer", "continual.method", "continual.part", "continual.variant", "continual.buffer")
UNREAD = ("measure.min_sample_seconds",)
SIDE_BY_SIDE = True  # nothing is timed


def time_limit(config: Config) -> float:
    """Seconds that a cell may take, compilation included."""
    return 1800.0


def cell(config: ForgettingConfig, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; a row for each lane: `lab.streams.rows`."""
    from transformer_jax.continual import streams as tasks_of  # here, as jax takes seconds to load
    from transformer_jax.lab import streams
    from transformer_jax.measure.matching import matched
    from transformer_jax.tasks import associative_recall, digits

    config = job.seeded(config)
    base = {"digits": digits, "associative_recall": associative_recall}[config.task.name].build(config)
    stream = tasks_of.build(config, base)
    config = matched(config, stream.tasks[0].shape, "params")
    trained = StreamConfig(config.model, config.task, config.train, continual=config.continual)
    streams.train(trained, stream, job.folder)
    return streams.rows(trained, stream, job.folder)
