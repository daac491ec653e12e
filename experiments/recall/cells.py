"""How many pairs does attention learn to recall, and how many a GRU or LSTM with as many parameters in as many steps?

Multi-query associative recall (Arora et al. 2023, arXiv 2312.04927): key-value pairs, then the keys once more among
random tokens; the answer at a key is its value. A cell chooses its learning rate on a seed of its own, trains its lanes
from others, side by side, and gives a row for each lane and evaluation: the curve over steps, whose last point is what
the report compares, in all and by the distance between a key and where it is asked for.
"""

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab import equal_seconds
from transformer_jax.lab.sweep import Job, chain, grid
from transformer_jax.typed import require

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)

BASE = Config(
    model=ModelConfig(d_model=64, num_layers=2, num_heads=2, mlp_dim=64, max_len=32, position="rotary",
                      scan_layers=False),
    task=TaskConfig(name="associative_recall", vocab_size=64, seq_len=32, batch_size=32),
    train=TrainConfig(num_steps=600, warmup_steps=50, beta2=0.99, weight_decay=0.01, lanes=5, eval_every=50,
                      checkpoint_every=300),
    measure=equal_seconds.Axes(rounds=1),
)  # fmt: skip
ATTENTION, RECURRENT = {"model.mixer": ["attention"]}, {"model.mixer": ["gru", "lstm"]}
MIXERS = {"model.mixer": ["attention", "gru", "lstm"]}
STUDIES = {"pairs": grid(MIXERS | {"task.num_items": [2, 4, 8]})}
_LONG = {"task.vocab_size": [8192], "task.batch_size": [64], "model.max_len": [512], "train.num_steps": [10_000],
         "train.warmup_steps": [500], "train.eval_every": [500], "train.checkpoint_every": [2500]}  # fmt: skip
_PAIRS = _LONG | {"task.seq_len": [64], "task.num_items": [2, 4, 8, 16]}
_FEWER = {"task.num_items": [2, 4, 8]}  # those of the rule; at 16 pairs a GRU with as many parameters has as many FLOPs
_STATE = _LONG | {"task.seq_len": [256], "task.num_items": [16]}
FULL = {
    "pairs": grid(_PAIRS | MIXERS),
    **{what: grid(_PAIRS | _FEWER | ATTENTION) + grid(_PAIRS | _FEWER | RECURRENT | {"measure.matching": [what]})
       for what in ("flops", "seconds")},
    "length": chain(*(grid(_LONG | MIXERS | {"task.seq_len": [T], "task.num_items": [n]})
                      for T, n in ((64, 4), (128, 8), (256, 16), (512, 64)))),
    "state": grid(_STATE | ATTENTION | {"model.d_model": [32, 64, 128]})
    + grid(_STATE | RECURRENT | {"measure.matching": ["width"], "model.recurrent_dim": [64, 256, 1024]}),
}  # fmt: skip
SWEEPS = ("model.mixer", "task.num_items")
SIDE_BY_SIDE = equal_seconds.untimed
UNREAD = ("measure.min_sample_seconds", "train.peak_lr", "train.lane_lrs", "train.same_seed", "train.nan_policy")
time_limit = 600.0  # seconds of a cell, beside half a second a step
TAKES = {"quick": "3 minutes with --workers 2 on 2 shared cores of an AMD EPYC"}


def check(config: Config) -> None:
    """ConfigError: too few steps for the pairs."""
    pairs, T = config.task.num_items, config.task.seq_len
    require(T >= 4 * pairs, f"task.seq_len={T}: recalling task.num_items={pairs} takes at least {4 * pairs}")


def _solved(validation: dict) -> bool:
    return validation["accuracy"] >= 0.99


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; accuracy on new sequences, by lane and step."""
    from transformer_jax.lab import trial, tuned  # here, as jax takes seconds to load and a plan has no need of it
    from transformer_jax.measure import closed_form
    from transformer_jax.tasks import associative_recall

    task = associative_recall.build(config)
    config, seconds = equal_seconds.matched(config, task, job.folder)
    of = tuned.train(job.seeded(config), task, job.folder, RATES, there=_solved)
    solved = of.first(_solved)
    shared = of.columns | seconds | closed_form.sizes(config, task.shape)
    return [row | shared | {"solved_step": solved.get(row["lane"])} for row in trial.curve(of.folder, "validation")]
