"""Is attention ahead of a GRU and an LSTM where a whole series is to be told apart?

Series that are read step by step, every pixel or number a step: handwritten digits whose 64 pixels come in a fixed
random order, and shapes in noise after MNIST-1D (Greydanus & Kobak 2020, arXiv 2011.14439). A series has a first and a
last step, so that attention has sinusoidal positions. A cell chooses its learning rate on a seed of its own, trains
five others, and gives a row for each: right answers on the test split.
"""

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab.sweep import Job, Override, grid
from transformer_jax.typed import require

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SIZES = {
    "digits": {"task.name": ["digits"], "task.patch_size": [1], "task.permute_patches": [0], "task.seq_len": [64]},
    "shapes_1d": {"task.name": ["shapes_1d"], "task.seq_len": [40]},
}

BASE = Config(
    model=ModelConfig(d_model=32, num_layers=2, num_heads=2, mlp_dim=64, max_len=512, scan_layers=False),
    task=TaskConfig(name="shapes_1d", seq_len=40, batch_size=16),
    train=TrainConfig(num_steps=200, warmup_steps=50, beta2=0.99, weight_decay=0.01, lanes=5, chunk_steps=25,
                      eval_every=25, checkpoint_every=200),
    measure=MeasureConfig(rounds=1),
)  # fmt: skip


def _studies(**large: list) -> dict[str, list[Override]]:
    more = {key.replace("__", "."): values for key, values in large.items()}
    attention = {"model.mixer": ["attention"], "model.position": ["sinusoidal"]}
    return {name: grid(sizes | more | attention) + grid(sizes | more | {"model.mixer": ["gru", "lstm"]})
            for name, sizes in SIZES.items()}  # fmt: skip


STUDIES = _studies()
FULL = _studies(
    model__d_model=[64], model__mlp_dim=[256], task__batch_size=[64], train__num_steps=[20_000],
    train__warmup_steps=[500], train__chunk_steps=[100], train__eval_every=[100], train__checkpoint_every=[2000],
)  # fmt: skip
TASKS = tuple(SIZES)
SWEEPS = ("model.mixer",)
TAKES = {"quick": "2 minutes on one shared core of an AMD EPYC"}
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds", "train.peak_lr", "train.lane_lrs", "train.same_seed", "train.nan_policy")
time_limit = 1600.0  # seconds of a cell, beside half a second a step


def check(config: Config) -> None:
    """ConfigError: a training that is too short to choose a rate in half of it."""
    steps = config.train.num_steps
    late = config.train.warmup_steps >= steps // 2
    require(not late, f"train.num_steps={steps}: a rate is chosen in half, and its warm-up takes longer")


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; by lane, what was reached on the test split."""
    from transformer_jax.lab import trained, trial, tuned  # here, as jax takes seconds to load
    from transformer_jax.measure.matching import matched
    from transformer_jax.tasks import digits, shapes_1d

    build = {"digits": digits.build, "shapes_1d": shapes_1d.build}[config.task.name]
    task = build(config)
    config = matched(config, task.shape, "params")
    of = tuned.train(job.seeded(config), task, job.folder, RATES, steps=config.train.num_steps // 2)
    run = trained.restored(of.folder, build, "latest")
    shared = {"step": run.step, "parameters": trial.num_params(config, task) // config.train.lanes} | of.columns
    return [shared | {"lane": lane} | found for lane, found in enumerate(run.metrics(task.evaluate("test")))]
