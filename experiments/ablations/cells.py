"""What is attention worth without some of its parts: residual sums, norms, positions?

Two studies on 1,797 handwritten digits that come along, read as 16 patches; one seed a lane. `depth`: with and without
residual sums and norms. `positions`: none, sinusoidal, learned, rotary. A row for each lane.
"""

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.typed import require

BASE = Config(
    model=ModelConfig(d_model=32, num_layers=2, num_heads=4, mlp_dim=64, max_len=16, causal=False, scan_layers=False,
                      position="learned"),
    task=TaskConfig(name="digits", patch_size=2, seq_len=16, batch_size=32),
    train=TrainConfig(num_steps=600, peak_lr=2e-3, warmup_steps=50, schedule="cosine", weight_decay=0.05, lanes=5,
                      eval_every=300, checkpoint_every=300, nan_policy="skip"),
    measure=MeasureConfig(rounds=1),
)  # fmt: skip

STUDIES = {
    "depth": grid({"model.num_layers": [2, 4, 8], "model.residual": [True, False], "model.norm": ["pre", "none"]}),
    "positions": grid({"model.position": ["none", "sinusoidal", "learned", "rotary"]}),
}
SWEEPS = ("model.num_layers", "model.residual", "model.norm", "model.position")
TAKES = {"quick": "6 minutes on one shared core of an AMD EPYC"}
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds",)
time_limit = 600.0  # seconds of a cell, beside half a second a step


def check(config: Config) -> None:
    """ConfigError: a recurrence."""
    mixer = config.model.mixer
    require(mixer == "attention", f"model.mixer={mixer}: this experiment takes attention apart")


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; the last evaluation of every lane."""
    from transformer_jax.lab import trial  # here, as jax takes seconds to load and a plan has no need of it
    from transformer_jax.tasks import digits

    trial.train(job.seeded(config), digits.build(config), job.folder)
    curve = trial.curve(job.folder, "validation")
    return [row for row in curve if row["step"] == max(row["step"] for row in curve)]
