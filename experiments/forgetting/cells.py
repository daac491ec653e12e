"""How much of what was learned should a model protect, and how much should it let adapt?

A small transformer learns tasks one after another: handwritten digits whose pixels each task permutes, two digits at a
time, and recall of key-value pairs, each time with tokens of its own. A penalty draws parameters to what the tasks
before made of them, as strongly as their Fisher says (EWC) or all alike (L2): all of them, those of queries and keys,
or as many drawn at random. Strengths and seeds are lanes of one compiled step; a row for each lane. Where the best
strength is the lowest or highest of its grid, the cell goes on beyond it, twice at most (`widened` counts).

FULL takes MNIST for digits, and adds the other methods and parts, and letters of two languages. The published
perceptron is configs/permuted_mnist.py and split_mnist.py.
"""

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.config.continual import ContinualConfig, StreamConfig
from transformer_jax.lab.sweep import Job, chain, grid

SEEDS = 5
GRID = {
    "ewc": tuple(round(10 ** (0.75 * i), 1) for i in range(9)),
    **{name: tuple(10.0 ** (i + low) for i in range(9)) for name, low in (("l2", -5), ("si", -4), ("mas", -4))},
    "lwf": tuple(round(10 ** (0.5 * i - 2), 3) for i in range(9)),
}
"""Strengths above 0, nine of each method: the mean of a Fisher is some thousandths, where L2 has 1."""
TASKS = ("digits", "associative_recall", "mnist", "number_words")


BASE = StreamConfig(
    model=ModelConfig(d_model=24, num_layers=2, num_heads=2, mlp_dim=48, position="learned", causal=False, max_len=32,
                      attention="reference", scan_layers=False),
    task=TaskConfig(name="digits", patch_rows=1, seq_len=8, batch_size=32),
    train=TrainConfig(num_steps=80, peak_lr=3e-3, warmup_steps=8, beta2=0.99, weight_decay=0.0, lanes=SEEDS * 11,
                      nan_policy="skip", eval_every=40, checkpoint_every=80),
    measure=MeasureConfig(rounds=1),
    continual=ContinualConfig(stream="permuted", scenario="domain", strengths=(0.0, *GRID["ewc"]), with_frozen=True,
                              fisher_examples=100),
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
    "recurrent": grid(SPLIT | {"continual.scenario": ["task"], "model.mixer": ["gru", "lstm"]}),
}

MNIST = {
    "task.name": ["mnist"], "task.seq_len": [28], "task.batch_size": [64], "train.num_steps": [400],
    "train.eval_every": [200], "train.checkpoint_every": [400],
}  # fmt: skip
PERMUTED_MNIST, SPLIT_MNIST = PERMUTED | MNIST | {"continual.num_tasks": [5]}, SPLIT | MNIST
PARTS = ["mixer", "value_out", "mlp", "embeddings", "head"]
WITHOUT = {"continual.strengths": [()], "continual.with_frozen": [False], "train.lanes": [SEEDS]}
OF_ANSWERS = {"continual.method": ["lwf"], "continual.strengths": [(0.0, *GRID["lwf"])]}


def _methods(axes: dict) -> list[dict]:
    """EWC joined otherwise, what else penalises, and replay of more and more examples."""
    of = {name: {"continual.method": [name], "continual.strengths": [(0.0, *GRID[name])]} for name in ("si", "mas")}
    replay = {"continual.method": ["replay"], "continual.buffer": [50, 200, 1000]} | WITHOUT
    return chain(
        grid(axes | {"continual.variant": ["online", "corrected"], "continual.decay": [0.9]}),
        *(grid(axes | other) for other in (*of.values(), OF_ANSWERS, replay)),
        grid(axes | {"continual.part": PARTS}),
        grid(axes | {"continual.part": PARTS, "continual.control": [True]}),
    )


TEXTS = {
    "continual.stream": ["texts"], "continual.scenario": ["domain"], "continual.num_tasks": [2],
    "continual.texts": [("number_words_fr",)], "continual.fisher": ["sampled"], "task.name": ["number_words"],
    "task.patch_rows": [None], "task.seq_len": [32], "model.causal": [True], "train.num_steps": [600],
    "train.eval_every": [200], "train.checkpoint_every": [600],
}  # fmt: skip
FULL = {
    "permuted": _variants(PERMUTED_MNIST, l2=True),
    "split": _variants(SPLIT_MNIST),
    "recall": STUDIES["recall"],
    "memory": STUDIES["memory"],
    "methods": chain(_methods(PERMUTED_MNIST), _methods(SPLIT_MNIST | {"continual.scenario": ["task"]})),
    "recurrent": grid(SPLIT_MNIST | {"continual.scenario": ["task"], "model.mixer": ["gru", "lstm"]}),
    "letters": _variants(TEXTS),
}
SWEEPS = ("model.mixer", "continual.method", "continual.part", "continual.variant", "continual.buffer")
UNREAD = ("measure.min_sample_seconds", "continual.strength")
SIDE_BY_SIDE = True  # nothing is timed
TAKES = {"quick": "10 minutes with --workers 2 on 2 shared cores of an AMD EPYC"}


def time_limit(config: Config) -> float:
    """Seconds that a cell may take, compilation included."""
    return 1800.0 if config.task.name in ("digits", "associative_recall") else 6 * 3600.0


def data(config: Config) -> dict[str, str]:
    """The SHA-256 of the files that MNIST was made from; MissingData: it is not prepared."""
    if config.task.name != "mnist":
        return {}
    from transformer_jax.tasks import place, sets

    return sets.digests(sets.open_set("mnist", place.data_dir(config.task)))


def cell(config: StreamConfig, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; a row for each lane, as `lab.streams.widened_rows`."""
    from transformer_jax.continual import streams as tasks_of  # here, as jax takes seconds to load
    from transformer_jax.lab import streams
    from transformer_jax.measure.matching import matched
    from transformer_jax.tasks import associative_recall, digits, number_words, number_words_fr, vision

    texts = {"number_words": number_words, "number_words_fr": number_words_fr}
    modules = {"digits": digits, "associative_recall": associative_recall, "mnist": vision} | texts
    config = job.seeded(config)
    stream = tasks_of.build(config, modules[config.task.name].build(config), lambda name: texts[name].build(config))
    return streams.widened_rows(matched(config, stream.tasks[0].shape, "params"), stream, job.folder)
