"""What is attention worth without some of its parts? Heads, residual sums and norms, positions, the scale by sqrt(d).

Four studies on 1,797 handwritten digits that come along, read as 16 patches; one seed a lane. `heads`: how alike the
heads of a layer are (linear CKA) and what is lost without one of them. `depth`: with and without residual sums and
norms. `positions`: none, sinusoidal, learned, rotary. `scale`: no training, entropy and gradient of a softmax over
random scores. A training cell gives a row for each lane, under `heads` for each lane and layer.
"""

from dataclasses import dataclass
from typing import Literal

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab.sweep import Job, by_steps, grid
from transformer_jax.typed import require

WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
KEYS, EXAMPLES = 64, 256


@dataclass(frozen=True)
class Axes(MeasureConfig):
    probe: Literal["accuracy", "heads", "scale"] = "accuracy"
    """What is looked at: a trained model, its heads as well, or a score of random vectors, without training."""


BASE = Config(
    model=ModelConfig(d_model=32, num_layers=2, num_heads=4, mlp_dim=64, max_len=16, causal=False, scan_layers=False,
                      position="learned"),
    task=TaskConfig(name="digits", patch_size=2, seq_len=16, batch_size=32),
    train=TrainConfig(num_steps=600, peak_lr=2e-3, warmup_steps=50, schedule="cosine", weight_decay=0.05, lanes=5,
                      eval_every=300, checkpoint_every=300, nan_policy="skip"),
    measure=Axes(rounds=1),
)  # fmt: skip

STUDIES = {
    "heads": grid({"measure.probe": ["heads"], "model.num_heads": [1, 2, 4, 8]}),
    "depth": grid({"model.num_layers": [2, 4, 8], "model.residual": [True, False], "model.norm": ["pre", "none"]}),
    "positions": grid({"model.position": ["none", "sinusoidal", "learned", "rotary"]}),
    "scale": grid({"measure.probe": ["scale"], "model.score": ["scaled_dot", "dot"]}),
}
SWEEPS = ("model.num_heads", "model.num_layers", "model.residual", "model.norm", "model.position", "model.score")
TAKES = {"quick": "a quarter of an hour on one shared core of an AMD EPYC"}
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds",)
time_limit = by_steps(600.0)


def check(config: Config) -> None:
    """ConfigError: a recurrence."""
    mixer = config.model.mixer
    require(mixer == "attention", f"model.mixer={mixer}: this experiment takes attention apart")


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; what was found of every lane."""
    if config.measure.probe == "scale":
        from transformer_jax.measure import saturation  # here, as jax takes seconds to load

        return saturation.rows(config.model.score, WIDTHS, KEYS, config.train.lanes, job.seed)
    from transformer_jax.lab import trial
    from transformer_jax.tasks import digits

    ended = trial.train(job.seeded(config), digits.build(config), job.folder)
    curve = trial.curve(job.folder, "validation")
    last = [row for row in curve if row["step"] == max(row["step"] for row in curve)]
    return last if config.measure.probe == "accuracy" or ended.status == "nan" else _heads(job.folder)


def _heads(folder) -> list[dict]:
    """A row for each lane and layer: accuracy with all heads, and in the mean over them without one; their CKA."""
    import jax
    import numpy as np

    from transformer_jax.lab import trained
    from transformer_jax.models import heads
    from transformer_jax.ops.similarity import pairwise_cka
    from transformer_jax.tasks import digits

    run = trained.restored(folder, digits.build, "latest")
    model, batches = run.config.model, list(run.task.evaluate("validation"))
    inputs = np.concatenate([b["inputs"][b["weights"] > 0] for b in batches])[:EXAMPLES]
    N, H, lanes = model.num_layers, model.num_heads, run.config.train.lanes

    def accuracies(params=None) -> list[float]:
        return [lane["accuracy"] for lane in run.metrics(batches, params)]

    def alike(params):
        found = heads.outputs(model, run.task.shape, params, inputs)  # N, examples, patches, H, head_dim
        by_head = jax.numpy.moveaxis(found, 3, 1).reshape(N, H, -1, found.shape[-1])
        return jax.vmap(pairwise_cka)(by_head)

    def removed(layer: int, head: int) -> list[float]:
        each = [heads.without(model, params, layer, head) for params in run.lanes]
        return accuracies(jax.tree.map(lambda *leaves: np.stack(leaves), *each) if lanes > 1 else each[0])

    cka, others = np.array([alike(params) for params in run.lanes]), ~np.eye(H, dtype=bool)
    whole, less = accuracies(), np.array([[removed(n, h) for h in range(H)] for n in range(N)])
    return [
        {"step": run.step, "lane": lane, "layer": n, "accuracy": whole[lane],
         "cka": float(cka[lane, n][others].mean()) if H > 1 else None,
         "lost": whole[lane] - float(less[n, :, lane].mean()), "most_lost": whole[lane] - float(less[n, :, lane].min())}
        for lane in range(lanes) for n in range(N)
    ]  # fmt: skip
