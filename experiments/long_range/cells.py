"""Which long dependencies does attention learn, and which a GRU or LSTM with as many parameters?

Far away is what decides the answer in adding and copying; in parity, even pairs and cycle navigation (Delétang et al.
2022, arXiv 2207.02098) a state has to be kept up to the end. A cell chooses its learning rate on a seed of its own,
trains five others, and tests them at the trained length and, where the task allows it, up to 16 times beyond.
"""

from dataclasses import dataclass, replace

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab.sweep import Job, chain, grid
from transformer_jax.typed import require

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FACTORS = {"adding": (1, 2), "copy_memory": (1,)}  # lengths of the test over the trained one
FACTORS |= dict.fromkeys(("parity", "even_pairs", "cycle_navigation"), (1, 2, 4, 16))


@dataclass(frozen=True)
class LongRangeConfig(Config):
    def __post_init__(self):
        super().__post_init__()
        name, max_len = self.task.name, self.model.max_len
        require(name in FACTORS, f"task.name={name}: this experiment trains on {', '.join(FACTORS)}")
        longest = FACTORS[name][-1] * self.task.seq_len
        require(max_len >= longest, f"model.max_len={max_len}: {name} is tested at up to {longest} steps")
        few = self.train.warmup_steps < self.train.num_steps // 2
        require(few, f"train.num_steps={self.train.num_steps}: a rate is chosen in half, and its warm-up takes longer")
        require(self.model.position != "learned", "model.position=learned: what training did not reach has no vector")


BASE = LongRangeConfig(
    model=ModelConfig(d_model=32, num_layers=2, num_heads=2, mlp_dim=64, max_len=512, scan_layers=False),
    task=TaskConfig(name="parity", seq_len=20, batch_size=16, vocab_size=10, num_items=4),
    train=TrainConfig(num_steps=400, warmup_steps=50, beta2=0.99, weight_decay=0.01, lanes=5, chunk_steps=25,
                      eval_every=25, checkpoint_every=200),
    measure=MeasureConfig(rounds=1),
)  # fmt: skip


def _study(name: str, **sizes: int) -> list[dict]:
    task = {"task.name": [name]} | {f"task.{key}": [size] for key, size in sizes.items()}
    attention = {"model.mixer": ["attention"], "model.position": ["none", "sinusoidal", "rotary"]}
    return chain(grid(task | attention), grid(task | {"model.mixer": ["gru", "lstm"]}))


STUDIES = {
    "adding": _study("adding", seq_len=200),
    "copy_memory": _study("copy_memory", seq_len=58),  # four symbols, 50 blanks, four answers
    "parity": _study("parity", seq_len=20, min_len=1),
    "even_pairs": _study("even_pairs", seq_len=20, min_len=2),
    "cycle_navigation": _study("cycle_navigation", seq_len=20, min_len=2),
}
SWEEPS = ("model.mixer", "model.position")
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds", "train.peak_lr", "train.lane_lrs", "train.same_seed", "train.nan_policy")


def time_limit(config: Config) -> float:
    """Seconds that a cell may take, compilation included."""
    return 1800.0


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; by lane and length of the test, what was reached."""
    from transformer_jax.lab import trained, trial, tuned  # here, as jax takes seconds to load
    from transformer_jax.measure.matching import matched
    from transformer_jax.tasks import adding, copy_memory, cycle_navigation, even_pairs, parity

    modules = (adding, copy_memory, parity, even_pairs, cycle_navigation)
    build = {module.KIND.draw.__name__: module.build for module in modules}[config.task.name]
    task = build(config)
    config = matched(config, task.shape, "params")
    of = tuned.train(job.seeded(config), task, job.folder, RATES, steps=config.train.num_steps // 2)
    solved = of.first(lambda row: row["mse"] < 0.01 if "mse" in row else row["accuracy"] >= 0.99)
    run, rows = trained.restored(of.folder, build, "latest"), []
    shared = of.columns | {"step": run.step, "parameters": trial.num_params(config, task) // config.train.lanes}
    for longer in FACTORS[config.task.name]:
        sizes = replace(config.task, seq_len=longer * config.task.seq_len, min_len=None)
        found = run.metrics(build(Config(config.model, sizes, config.train)).evaluate("test"))
        own = [shared | {"longer": longer, "lane": i, "solved_step": solved.get(i)} for i in range(len(found))]
        rows += [known | metrics for known, metrics in zip(own, found, strict=True)]
    return rows
