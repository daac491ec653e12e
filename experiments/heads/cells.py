"""Do the heads of a layer do different things, and what is lost without one of them?

A small encoder on 1,797 handwritten digits that come along, read as 16 patches, with 1 to 8 heads; one seed a lane. Of
each layer of the trained model: how alike the outputs of two heads are (linear CKA, Kornblith et al. 2019,
arXiv 1905.00414), and the accuracy without one of them, nothing trained anew. A row for each lane and layer.
"""

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.typed import require

EXAMPLES = 256  # of the validation split, whose outputs are compared

BASE = Config(
    model=ModelConfig(d_model=32, num_layers=2, num_heads=4, mlp_dim=64, max_len=16, causal=False, scan_layers=False,
                      position="learned"),
    task=TaskConfig(name="digits", patch_size=2, seq_len=16, batch_size=32),
    train=TrainConfig(num_steps=600, peak_lr=2e-3, warmup_steps=50, schedule="cosine", weight_decay=0.05, lanes=5,
                      eval_every=300, checkpoint_every=300, nan_policy="skip"),
    measure=MeasureConfig(rounds=1),
)  # fmt: skip
STUDIES = {"heads": grid({"model.num_heads": [1, 2, 4, 8]})}
SWEEPS = ("model.num_heads",)
TAKES = {"quick": "2 minutes on one shared core of an AMD EPYC"}
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds",)
time_limit = 600.0  # seconds of a cell, beside half a second a step


def check(config: Config) -> None:
    """ConfigError: a recurrence."""
    require(config.model.mixer == "attention", f"model.mixer={config.model.mixer}: it has no heads; attention has")


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; a row for each lane and layer: the accuracy with all
    heads, what is lost without one of them (the mean over them, and the most), and their CKA."""
    import jax
    import numpy as np

    from transformer_jax.lab import trained, trial
    from transformer_jax.models import heads
    from transformer_jax.ops.similarity import pairwise_cka
    from transformer_jax.tasks import digits

    if trial.train(job.seeded(config), digits.build(config), job.folder).status == "nan":
        curve = trial.curve(job.folder, "validation")
        return [row for row in curve if row["step"] == max(row["step"] for row in curve)]
    run = trained.restored(job.folder, digits.build, "latest")
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
