"""How many pairs does attention recall after a short training, and how many a GRU or LSTM with as many parameters?

Multi-query associative recall (Arora et al. 2023, arXiv 2312.04927): key-value pairs, then the keys once more among
random tokens; the answer at a key is its value. A cell chooses its learning rate on a seed of its own, trains its lanes
from others, side by side, and gives a row for each lane and evaluation: the curve over steps, whose last point is what
the report compares, in all and by the distance between a key and where it is asked for.
"""

from dataclasses import dataclass

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.typed import require

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


@dataclass(frozen=True)
class RecallConfig(Config):
    def __post_init__(self):
        super().__post_init__()
        name, pairs, seq_len = self.task.name, self.task.num_items, self.task.seq_len
        require(name == "associative_recall", f"task.name={name}: this experiment trains on associative_recall alone")
        require(
            seq_len >= 4 * pairs, f"task.seq_len={seq_len}: recalling task.num_items={pairs} takes at least {4 * pairs}"
        )


BASE = RecallConfig(
    model=ModelConfig(
        d_model=64, num_layers=2, num_heads=2, mlp_dim=64, max_len=32, position="rotary", scan_layers=False
    ),
    task=TaskConfig(name="associative_recall", vocab_size=64, seq_len=32, batch_size=32),
    train=TrainConfig(
        num_steps=400, warmup_steps=50, beta2=0.99, weight_decay=0.01, lanes=5, eval_every=100, checkpoint_every=100
    ),
    measure=MeasureConfig(rounds=1),
)

STUDIES = {"pairs": grid({"model.mixer": ["attention", "gru", "lstm"], "task.num_items": [2, 4, 8]})}
SWEEPS = ("model.mixer", "task.num_items")
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds", "train.peak_lr", "train.lane_lrs", "train.same_seed", "train.nan_policy")


def time_limit(config: Config) -> float:
    """Seconds that a cell may take, compilation included."""
    return 900.0


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; accuracy on new sequences, by lane and step."""
    from transformer_jax.lab import trial, tuned  # here, as jax takes seconds to load and a plan has no need of it
    from transformer_jax.measure.matching import matched
    from transformer_jax.tasks import associative_recall

    task = associative_recall.build(config)
    config = matched(config, task.shape, "params")
    of = tuned.train(job.seeded(config), task, job.folder, RATES)
    shared = of.columns | {"parameters": trial.num_params(config, task) // config.train.lanes}
    return [row | shared for row in trial.curve(of.folder, "validation")]
