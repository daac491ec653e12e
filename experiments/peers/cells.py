"""Is what we measure as fast as what others offer? Our attention, recurrences and training step against their peers.

Each contender is compiled apart, must compute what ours computes, and is then sampled once a round among all others
in one process, so that ratios are taken within a round. Three kinds of problem:
- attention (measure.level=op, model.mixer=attention) on projected q, k, v, causal as model.causal says;
- a recurrent layer with its input projection (measure.level=op, model.mixer=rnn, gru, lstm);
- a training step of a language model (measure.level=model).
Training is a forward and a backward pass; of a model, the loss and AdamW as well.
"""

from dataclasses import asdict, dataclass, field
from functools import cache

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, with_overrides
from transformer_jax.lab.sweep import Job, Override, chain, grid
from transformer_jax.measure.work import Level, Phase, Work, next_token
from transformer_jax.peers import libraries

EXTRA = {"peers": ("torch", "keras")}
STORING = libraries.STORES_SCORES
MAX_SCORE_BYTES = 3e9


@dataclass(frozen=True)
class Axes(MeasureConfig):
    level: Level = "model"
    """The op, with a recurrence's input projection, or a training step of the whole model."""
    phase: Phase = "train"
    """A forward pass, or forward and backward."""
    peer: libraries.Peer = "ours"
    """Whose implementation."""


@dataclass(frozen=True)
class PeersConfig(Config):
    measure: Axes = field(default_factory=Axes)


BASE = PeersConfig(
    # the blocks one after another, as PyTorch has them: scanned they compile sooner and run longer
    model=ModelConfig(d_model=256, num_layers=4, num_heads=8, scan_layers=False),
    task=TaskConfig(seq_len=512, batch_size=8, vocab_size=256),
    measure=Axes(rounds=5),
)


def score_bytes(override: Override) -> int:
    """What an implementation that stores the scores needs for them: two copies forward, four in training."""
    stores = override["measure.peer"] in STORING or override["model.attention"] == "reference"
    copies = 4 if override["measure.phase"] == "train" else 2
    return stores * copies * 4 * override["task.batch_size"] * BASE.model.num_heads * override["task.seq_len"] ** 2


def attentions(phases, causal, lengths):
    """Ours in three ways and every peer; those whose scores would need more than MAX_SCORE_BYTES are left out."""
    problem = {"measure.level": ["op"], "model.mixer": ["attention"], "model.d_model": [512], "task.batch_size": [1]}
    problem |= {"measure.phase": phases, "model.causal": causal, "task.seq_len": lengths}
    ours = {"measure.peer": ["ours"], "model.attention": ["auto", "blockwise", "reference"]}
    theirs = {"measure.peer": list(libraries.ATTENTION[1:]), "model.attention": ["auto"]}
    both = chain(grid(problem | ours), grid(problem | theirs))
    return [override for override in both if score_bytes(override) <= MAX_SCORE_BYTES]


RECURRENCES = {"measure.level": ["op"], "model.mixer": ["rnn", "gru", "lstm"], "task.batch_size": [32],
               "measure.phase": ["forward", "train"], "task.seq_len": [128, 512],
               "measure.peer": list(libraries.RECURRENCE)}  # fmt: skip
STEP = {"measure.level": ["model"], "measure.phase": ["train"]}
SHAKESPEARE = {"model.mixer": ["attention"], "model.d_model": [128], "model.num_heads": [4], "task.vocab_size": [65],
               "task.seq_len": [64], "task.batch_size": [12], "measure.peer": ["ours", "torch"]}  # fmt: skip
LARGER = {"model.mixer": ["attention", "lstm"], "task.seq_len": [512], "measure.peer": list(libraries.STEP)}
STUDIES = {
    "attention": chain(
        attentions(["forward", "train"], [True, False], [128, 512, 2048]),
        attentions(["train"], [True], [16, 64, 96, 1024, 4096, 8192]),  # 96: the last length of `reference` for `auto`
        attentions(["forward"], [True], [8192]),
    ),
    "recurrence": grid(RECURRENCES),
    "step": chain(grid(STEP | LARGER), grid(STEP | SHAKESPEARE)),  # the second as configs/shakespeare_char.py
}


# What measures is imported where it is used: jax takes seconds to load, and a plan or a report has no need of it.
def work(config: PeersConfig) -> Work:
    return Work(config, next_token(config), config.measure.level, config.measure.phase)


def cell(config: PeersConfig, job: Job) -> dict:
    """One sample of one contender, taken once its outputs were found equal to ours."""
    from transformer_jax.measure import timing

    columns, timer = _prepare(config)
    return columns | asdict(timer()) | {"matmul_peak_flops": timing.calibration().peak_flops}


@cache
def _prepare(config: PeersConfig) -> tuple:
    import jax

    from transformer_jax.measure import closed_form, timing
    from transformer_jax.peers.contender import largest_difference

    ours = with_overrides(config, {"measure.peer": "ours", "model.attention": "auto"})
    one = _contender(config)
    known = {
        "implementation": closed_form.implementation(work(config)) if config.measure.peer == "ours" else None,
        "tokens": config.task.batch_size * config.task.seq_len,
        "closed_form_flops": predict(config)["flops"],
        "largest_difference": None,
        "temp_bytes": None,
    }
    if config != ours:
        known["largest_difference"] = largest_difference(one.outputs(), _contender(ours).outputs())
    jax.block_until_ready(one.step())  # a first step sets up what later ones find
    return known | one.columns, timing.Timer(one.step, config.measure.min_sample_seconds)


@cache
def _contender(config: PeersConfig):
    from transformer_jax.peers.build import build

    return build(work(config), config.measure.peer)


def predict(config: PeersConfig) -> dict[str, float]:
    """As `measure.predict`, for what is measured here: a peer's scores, and a recurrence's input projection."""
    from transformer_jax.measure import closed_form, predict

    peer, model = config.measure.peer, config.model
    kind = "reference" if peer in STORING else "blockwise" if peer == "torch" else model.attention
    config = with_overrides(config, {"model.attention": kind})
    found = predict.predict(work(config))
    if config.measure.level != "op" or "recurrence" in model.unread:
        return found
    steps = config.task.batch_size * config.task.seq_len * (3 if config.measure.phase == "train" else 1)
    flops = 2 * steps * closed_form.record(model).weights(model.d_model)
    return found | {
        "flops": found["flops"] + flops,
        "seconds": found["seconds"] + flops / predict.FLOPS_PER_SECOND,
    }
