"""What is left of recall at distances beyond any that was trained on?

Multi-query associative recall (Arora et al. 2023, arXiv 2312.04927), as in `experiments/recall`, with always as many
pairs; distances between a key and its query grow, and so do the random tokens between them. A cell trains at T steps,
one seed a lane, and the same parameters then answer at T, 2 T and 4 T: a row for each lane and length. Most queries of
a longer sequence are as near as in training: at 2 T and 4 T `accuracy` is that of those which are farther alone.
Attention with learned positions is not among them, as it has no vector for a position that training did not reach.
"""

from dataclasses import replace

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab.sweep import Job, chain, grid
from transformer_jax.typed import require

FACTORS = (1, 2, 4)


BASE = Config(
    model=ModelConfig(d_model=64, num_layers=2, num_heads=2, mlp_dim=64, max_len=128, scan_layers=False),
    task=TaskConfig(name="associative_recall", vocab_size=64, seq_len=32, batch_size=32, num_items=4),
    train=TrainConfig(
        num_steps=1500, peak_lr=3e-3, warmup_steps=50, beta2=0.99, weight_decay=0.01, lanes=3, eval_every=500,
        checkpoint_every=500,
    ),
    measure=MeasureConfig(rounds=1),
)  # fmt: skip

STUDIES = {
    "length": chain(
        grid({"model.mixer": ["attention"], "model.position": ["none", "sinusoidal", "rotary"]}),
        grid({"model.mixer": ["gru", "lstm"], "model.position": ["auto"]}),
    )
}
SWEEPS = ("model.mixer", "model.position")
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds",)
time_limit = 600.0  # seconds of a cell, beside half a second a step


def check(config: Config) -> None:
    """ConfigError: too few steps for the pairs, or a model that cannot read the longer test."""
    pairs, T, max_len = config.task.num_items, config.task.seq_len, config.model.max_len
    require(T >= 4 * pairs, f"task.seq_len={T}: recalling task.num_items={pairs} takes at least {4 * pairs}")
    longest = FACTORS[-1] * T
    tested = f"what is trained at task.seq_len={T} is tested at up to {longest}"
    require(max_len >= longest, f"model.max_len={max_len}: {tested}")
    learned = config.model.position == "learned"
    require(not learned, "model.position=learned: a position that training did not reach has no vector")


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; accuracy on new sequences, by lane and length."""
    from transformer_jax.lab import trained, trial  # here, as jax takes seconds to load and a plan has no need of it
    from transformer_jax.measure.matching import matched
    from transformer_jax.tasks import associative_recall, objectives

    task = associative_recall.build(config)
    config = matched(config, task.shape, "params")
    if trial.train(job.seeded(config), task, job.folder).status == "nan":
        return [row | {"test_len": config.task.seq_len} for row in trial.curve(job.folder, "validation")]
    run, T, rows = trained.restored(job.folder, associative_recall.build, "latest"), config.task.seq_len, []
    farther = objectives.cross_entropy(distances=((T, FACTORS[-1] * T),))
    for test_len in (factor * T for factor in FACTORS):
        longer = associative_recall.build(Config(config.model, replace(config.task, seq_len=test_len), config.train))
        for lane, found in enumerate(run.metrics(longer.evaluate("validation"), objective=farther)):
            asked = found.get(f"accuracy_{T}_{FACTORS[-1] * T}", found["accuracy"])
            row = {"step": run.step, "lane": lane, "test_len": test_len, "loss": found["loss"]}
            rows.append(row | {"accuracy": asked, "accuracy_of_all": found["accuracy"]})
    return rows
