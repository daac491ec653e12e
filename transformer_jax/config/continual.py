"""How a model learns one task after another: the keys of a stream of tasks and of what protects the earlier ones."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from transformer_jax.config import MIXERS, Config
from transformer_jax.typed import at_least, check_types, require

Method = Literal["none", "ewc", "l2", "si", "mas", "lwf", "replay", "joint", "frozen"]
_ALL = ("task", "domain", "class")
SCENARIOS = {"permuted": _ALL, "split": _ALL, "vocabularies": ("task", "class"), "texts": ("domain",)}
"""By stream, what is known of the task when an answer is asked for (van de Ven & Tolias 2019, arXiv 1904.07734)."""


@dataclass(frozen=True)
class ContinualConfig:
    """A stream of tasks made from one set, and how the tasks before are kept in mind."""

    stream: Literal["permuted", "split", "vocabularies", "texts"] = "split"
    """Images whose pixels each task permutes in its own way; images of other classes in each task; a generated task of
    tokens, each time with tokens of its own; or one text after another, letter by letter."""
    texts: tuple[str, ...] = ()
    """texts: those that come after task.name, names of tasks too."""
    scenario: Literal["task", "domain", "class"] = "class"
    """task: one chooses among the task's own answers. domain: all tasks have the same answers. class: one chooses among
    the answers of all tasks, or of those seen so far (`answers`)."""
    answers: Literal["all", "seen"] = "all"
    """With scenario class: one chooses among the answers of all tasks from the beginning, or among those of the tasks
    so far, as van de Ven & Tolias 2019 do."""
    num_tasks: int = 5
    order: tuple[int, ...] = ()
    """In which order the tasks come, counted from 0; none given: 0, 1, ..."""
    method: Method = "ewc"
    """none: nothing is kept. ewc, l2, si, mas: a penalty draws parameters to what they were. lwf: it draws
    answers to new inputs to what they were (at strength 1 as much as the new task). replay: old examples make up part
    of each batch. joint: the examples of all tasks so far. frozen: after the first task the part stays."""
    variant: Literal["separate", "online", "corrected"] = "separate"
    """ewc: a penalty for each old task about where that one ended; or the sum of all, the older ones times `decay`,
    about where the last one ended (Schwarz et al. 2018); corrected: the same without decay (Huszár 2018)."""
    decay: float = 1.0
    """What online multiplies the earlier tasks' Fisher by at each new one."""
    strength: float = 100.0
    """What the penalty is multiplied by."""
    strengths: tuple[float, ...] = ()
    """Several, trained side by side: every seed has a lane for each; none given: `strength`."""
    with_frozen: bool = False
    """Every seed has one lane more, in which the part stays as the first task left it."""
    part: str = "all"
    """What is protected: all, mixer, query_key, value_out, mlp, embeddings, head, or a part of the parameters' paths,
    mlp/Dense_0 say."""
    control: bool = False
    """In place of the part, as many single parameters, drawn at random from all."""
    fisher: Literal["exact", "sampled", "likeliest", "observed", "batched"] = "exact"
    """The squared gradient of an example, in expectation over the labels that the model would give; for one of these;
    for the likeliest one, as in van de Ven & Tolias 2019; for the observed label (the empirical Fisher); or, as some
    libraries compute it, that of a batch's mean."""
    fisher_examples: int | None = None
    """So many of a task's training examples; None: all."""
    keep_optimizer: bool = False
    """The optimizer goes on with its moments from the task before, in place of beginning anew."""
    buffer: int = 100
    """replay: how many examples of the old tasks are kept, equally many of each."""

    def __post_init__(self):
        check_types(self, "continual")
        for name in ("num_tasks", "buffer"):
            at_least(self, "continual", name, 1)
        if self.fisher_examples is not None:
            at_least(self, "continual", "fisher_examples", 1)
        known, wrong = SCENARIOS[self.stream], []
        if self.stream == "texts" and self.num_tasks != len(self.texts) + 1:
            wrong.append(
                f"continual.num_tasks={self.num_tasks}: continual.stream=texts has a task for task.name and one for"
                f" each of continual.texts, {len(self.texts) + 1} here"
            )
        if self.stream != "texts" and self.texts:
            wrong.append(f"continual.texts={list(self.texts)}: only continual.stream=texts reads them")
        if self.scenario not in known:
            wrong.append(
                f"continual.scenario={self.scenario}: the tasks of continual.stream={self.stream} are"
                f" {' or '.join(known)}"
            )
        require(not wrong, "\n  and: ".join(wrong))
        for strength in (self.strength, *self.strengths):
            require(
                strength >= 0 and math.isfinite(strength),
                f"continual.strength={strength}: must be finite, and 0 or above (what must not move at all is"
                " continual.method=frozen)",
            )
        require(
            self.method != "lwf" or (self.part == "all" and not self.control),
            f"continual.part={self.part}: continual.method=lwf draws answers, not parameters; take all, no control",
        )
        require(0 <= self.decay <= 1, f"continual.decay={self.decay}: must lie in [0, 1]")
        require(
            not self.order or sorted(self.order) == list(range(self.num_tasks)),
            f"continual.order={list(self.order)}: it names each of the {self.num_tasks} tasks once, the first is 0:"
            f" {' '.join(map(str, range(self.num_tasks)))}, in any order",
        )

    @property
    def lanes(self) -> tuple[float | None, ...]:
        """The strength of each lane of one seed; None: the part is frozen."""
        if self.method == "frozen":
            return (None,)
        penalised = self.method in ("ewc", "l2", "si", "mas", "lwf")
        chosen = (self.strengths or (self.strength,)) if penalised else (0.0,)
        return (*chosen, *([None] if self.with_frozen else []))

    @property
    def chooses_among_seen(self) -> bool:
        return self.scenario == "class" and self.answers == "seen"

    @property
    def tasks(self) -> tuple[int, ...]:
        """The tasks in their order."""
        return self.order or tuple(range(self.num_tasks))


@dataclass(frozen=True)
class StreamConfig(Config):
    """Everything that decides what a run on a stream of tasks computes; `train` says how each of them is learned."""

    continual: ContinualConfig = field(default_factory=ContinualConfig)

    def __post_init__(self):
        super().__post_init__()
        of_seed, lanes, frozen = len(self.continual.lanes), self.train.lanes, self.continual.with_frozen
        by = ["continual.strengths"] * (of_seed - frozen > 1) + ["continual.with_frozen"] * frozen
        near = [n for n in (lanes // of_seed * of_seed, (lanes // of_seed + 1) * of_seed) if n]
        require(
            lanes % of_seed == 0,
            f"train.lanes={lanes}: every seed has {of_seed} lanes here (by {' and '.join(by)}), so it must be a"
            f" multiple: {' or '.join(map(str, near))}",
        )
        freezes = "continual.method=frozen" if self.continual.method == "frozen" else "continual.with_frozen"
        part, mixer = self.continual.part, self.model.mixer
        require(
            part not in ("query_key", "value_out") or "num_heads" in MIXERS[mixer].reads,
            f"continual.part={part}: a model with model.mixer={mixer} has no queries, keys and values; take mixer",
        )
        require(
            None not in self.continual.lanes or self.train.weight_decay == 0,
            f"train.weight_decay={self.train.weight_decay}: it would move what is frozen ({freezes}); set it to 0",
        )
        require(
            not (self.continual.keep_optimizer and None in self.continual.lanes),
            f"continual.keep_optimizer=True: the moments of the first task would move what is frozen ({freezes})",
        )
        require(not self.train.lane_lrs, "train.lane_lrs: the lanes of a stream differ in seed and strength")
        require(self.train.nan_policy != "rollback", "train.nan_policy=rollback: a stream of tasks takes stop or skip")
        smooth = self.train.label_smoothing
        require(
            not smooth or (self.continual.scenario != "task" and not self.continual.chooses_among_seen),
            f"train.label_smoothing={smooth}: with continual.scenario=task, or continual.answers=seen, there are"
            " answers that cannot be given",
        )
        require(self.train.patience is None, "train.patience: every task of a stream has as many steps")

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each lane: those of one seed stand beside each other."""
        return tuple(self.train.seed + lane // len(self.continual.lanes) for lane in range(self.train.lanes))

    @property
    def strengths(self) -> tuple[float | None, ...]:
        """The strength of each lane; None: the part is frozen."""
        return self.continual.lanes * (self.train.lanes // len(self.continual.lanes))


def of_kind(keys: Iterable[str]) -> Config:
    """A config of default values that has such keys."""
    return StreamConfig() if any(key.startswith("continual.") for key in keys) else Config()
