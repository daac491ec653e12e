"""Which long dependencies does attention learn, and which a GRU or LSTM with as many parameters?

Far away is what decides the answer in adding and copying; in parity, even pairs and cycle navigation (Delétang et al.
2022, arXiv 2207.02098) a state has to be kept up to the end. A cell chooses its learning rate on a seed of its own,
trains five others, and tests them at the trained length and, where the task allows it, up to 16 times beyond. Series
that are read step by step are asked by `experiment series`.
"""

from dataclasses import replace

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab import equal_seconds
from transformer_jax.lab.sweep import Job, Override, chain, grid
from transformer_jax.typed import require

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FACTORS = dict.fromkeys(("adding", "listops"), (1, 2))  # lengths of the test over the trained one
FACTORS |= dict.fromkeys(("copy_memory", "selective_copying"), (1,))
FACTORS |= dict.fromkeys(("parity", "even_pairs", "cycle_navigation", "s5_words"), (1, 2, 4, 16))


BASE = Config(
    model=ModelConfig(d_model=32, num_layers=2, num_heads=2, mlp_dim=64, max_len=512, scan_layers=False),
    task=TaskConfig(name="parity", seq_len=20, batch_size=16, vocab_size=10, num_items=4),
    train=TrainConfig(num_steps=400, warmup_steps=50, beta2=0.99, weight_decay=0.01, lanes=5, chunk_steps=25,
                      eval_every=25, checkpoint_every=200),
    measure=equal_seconds.Axes(rounds=1),
)  # fmt: skip
POSITIONS, RECURRENT = ["none", "sinusoidal", "rotary"], {"model.mixer": ["gru", "lstm"]}
SIZES = {
    "adding": {"seq_len": 200},
    "copy_memory": {"seq_len": 58},  # four symbols, 50 blanks, four answers
    "parity": {"seq_len": 20, "min_len": 1},
    "even_pairs": {"seq_len": 20, "min_len": 2},
    "cycle_navigation": {"seq_len": 20, "min_len": 2},
}
MORE = {"selective_copying": {"seq_len": 100}, "s5_words": {"seq_len": 20}, "listops": {"seq_len": 128, "min_len": 4}}


def _study(name: str, sizes: dict[str, int], matching: str = "", **train: int) -> list[Override]:
    task = {"task.name": [name]} | {f"task.{key}": [size] for key, size in sizes.items()}
    task |= {f"train.{key}": [value] for key, value in train.items()}
    attention = grid(task | {"model.mixer": ["attention"], "model.position": POSITIONS})
    return attention + grid(task | RECURRENT | ({"measure.matching": [matching]} if matching else {}))


def _long(name: str, sizes: dict[str, int], matching: str = "") -> list[Override]:
    steps = {"num_steps": 20_000, "warmup_steps": 500, "chunk_steps": 100, "eval_every": 100, "checkpoint_every": 2000}
    large = {"model.d_model": 64, "model.mlp_dim": 256, "task.batch_size": 64}
    return [override | large for override in _study(name, sizes, matching, **steps)]


STUDIES = {name: _study(name, sizes) for name, sizes in SIZES.items()}
FULL = {name: _long(name, sizes) for name, sizes in (SIZES | MORE).items()}
FULL["delays"] = chain(*(_long("copy_memory", {"seq_len": 8 + delay}) for delay in (50, 100, 200)))
FULL |= {matching: chain(*(_long(name, sizes, matching=matching) for name, sizes in SIZES.items()))
         for matching in ("flops", "seconds")}  # fmt: skip
TASKS = tuple(FACTORS)
SWEEPS = ("model.mixer", "model.position")
SIDE_BY_SIDE = equal_seconds.untimed
UNREAD = ("measure.min_sample_seconds", "train.peak_lr", "train.lane_lrs", "train.same_seed", "train.nan_policy")
time_limit = 1600.0  # seconds of a cell, beside half a second a step
TAKES = {"quick": "6 minutes with --workers 2 on 2 shared cores of an AMD EPYC"}


def check(config: Config) -> None:
    """ConfigError: a training or model that cannot be asked what is asked here."""
    name, max_len, steps = config.task.name, config.model.max_len, config.train.num_steps
    longest = FACTORS[name][-1] * config.task.seq_len
    require(max_len >= longest, f"model.max_len={max_len}: {name} is tested at up to {longest} steps")
    late = config.train.warmup_steps >= steps // 2
    require(not late, f"train.num_steps={steps}: a rate is chosen in half, and its warm-up takes longer")
    learned = config.model.position == "learned"
    require(not learned, "model.position=learned: what training did not reach has no vector")


def _build(name: str):
    from transformer_jax.tasks import adding, copy_memory, cycle_navigation, even_pairs, listops, parity, s5_words

    # isort: split
    from transformer_jax.tasks import selective_copying

    modules = adding, copy_memory, cycle_navigation, even_pairs, listops, parity, s5_words, selective_copying
    return {module.__name__.rpartition(".")[2]: module.build for module in modules}[name]


def _solved(validation: dict) -> bool:
    return validation["mse"] < 0.01 if "mse" in validation else validation["accuracy"] >= 0.99


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; by lane and length of the test, what was reached."""
    from transformer_jax.lab import trained, trial, tuned  # here, as jax takes seconds to load

    build = _build(config.task.name)
    task = build(config)
    config, seconds = equal_seconds.matched(config, task, job.folder)
    of = tuned.train(job.seeded(config), task, job.folder, RATES, steps=config.train.num_steps // 2, there=_solved)
    solved = of.first(_solved)
    run, rows = trained.restored(of.folder, build, "latest"), []
    shared = of.columns | seconds | {"step": run.step}
    shared["parameters"] = trial.num_params(config, task) // config.train.lanes
    for longer in FACTORS[config.task.name]:
        sizes = replace(config.task, seq_len=longer * config.task.seq_len, min_len=None)
        found = run.metrics(build(Config(config.model, sizes, config.train)).evaluate("test"))
        own = [shared | {"longer": longer, "lane": i, "solved_step": solved.get(i)} for i in range(len(found))]
        rows += [known | metrics for known, metrics in zip(own, found, strict=True)]
    return rows
