"""Pairs ours with each other contender of the same problem, round by round."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from transformer_jax import intervals as fits

PEER, ATTENTION, LENGTH, PHASE = "measure.peer", "model.attention", "task.seq_len", "measure.phase"
NAMES = {
    "jax_nn": "jax.nn", "linen": "flax.linen", "nnx": "flax.nnx", "keras": "Keras", "torch": "PyTorch",
    "torch_compile": "torch.compile",
}  # fmt: skip
JAX_PEERS = ("jax.nn", "flax.linen", "flax.nnx", "Keras")
LAYERS = {"rnn": "tanh-RNN layer", "gru": "GRU layer", "lstm": "LSTM layer"}
WORK = {"forward": "forward", "train": "forward and backward"}
ORDER = ("attention, causal", "attention, not causal", *LAYERS.values())


@dataclass(frozen=True)
class Pair:
    """Ours and one other contender on one problem. ratio: our time over theirs; None with fewer than two rounds."""

    problem: str
    work: str
    length: int
    peer: str
    ours: dict
    theirs: dict
    ratio: fits.Ratio | None
    same_program: bool
    """The other is what `auto` took: a program beside itself."""

    @property
    def faster(self) -> str:
        """ "ours", "theirs" or why neither."""
        if self.same_program:
            return "the same program"
        if self.ratio is None:
            return "not told: one round"
        return {"faster": "ours", "slower": "theirs"}.get(self.ratio.verdict, self.ratio.verdict)

    @property
    def is_peer(self) -> bool:
        return not self.peer.startswith("ours")


@dataclass(frozen=True)
class Study:
    pairs: tuple[Pair, ...]
    floor: float | None
    """By how much a program's time differed from its own at most; None: there was no such comparison."""
    failed: tuple[dict, ...]
    cells: tuple[dict, ...]


def study(cells: Iterable[dict]) -> Study:
    """All pairs, in the order of problems, lengths and contenders; ours is `auto` where there are several."""
    cells, problems = tuple(cells), defaultdict(list)
    for cell in cells:
        problems[_problem_key(cell)].append(cell)
    couples = []
    for contenders in problems.values():
        ours = next((c for c in contenders if c.get(PEER) == "ours" and c.get(ATTENTION) == "auto"), None)
        if ours and _usable(ours):
            couples += [(ours, c) for c in contenders if c is not ours and _usable(c)]
    twice = [_samples(ours, theirs) for ours, theirs in couples if _same_program(ours, theirs)]
    floor = fits.noise_floor(found) if (found := [samples for samples in twice if samples]) else None
    pairs = sorted((_pair(ours, theirs, floor or 0.0) for ours, theirs in couples), key=_order)
    return Study(tuple(pairs), floor, tuple(c for c in cells if c["status"] != "ok"), cells)


def contender(cell: dict) -> str:
    """`PyTorch`, or `ours: blockwise`: which of ours matters to attention alone."""
    if (peer := cell.get(PEER)) != "ours":
        return NAMES.get(peer, str(peer))
    return f"ours: {cell.get(ATTENTION)}"


def problem(cell: dict) -> str:
    """`attention, causal`, `LSTM layer`, `LSTM language model`."""
    mixer = cell.get("model.mixer", "unknown")
    if cell.get("measure.level") == "model":
        return f"{mixer.upper() if mixer in LAYERS else mixer} language model"
    if mixer == "attention":
        return "attention, causal" if cell.get("model.num_classes") is None else "attention, not causal"
    return LAYERS.get(mixer, mixer)


def work(cell: dict) -> str:
    if cell.get("measure.level") == "model":
        return "training step"
    return WORK.get(cell.get(PHASE), str(cell.get(PHASE)))


def _problem_key(cell: dict) -> tuple:
    apart = (PEER, ATTENTION, "measure.rounds")
    return tuple(sorted((k, repr(v)) for k, v in cell.items() if "." in k and k not in apart))


def _usable(cell: dict) -> bool:
    return cell["status"] == "ok" and bool(cell.get("step_seconds"))


def _same_program(ours: dict, theirs: dict) -> bool:
    return theirs.get(PEER) == "ours" and theirs.get(ATTENTION) == ours.get("implementation") is not None


def _samples(ours: dict, theirs: dict) -> tuple[list[float], list[float]] | None:
    """Their times and ours in the rounds that both have, as `fits.compare` takes them; None with fewer than two."""
    mine, other = (dict(zip(c["sampled_rounds"], c["step_seconds"], strict=True)) for c in (ours, theirs))
    rounds = sorted(mine.keys() & other.keys())
    return ([other[r] for r in rounds], [mine[r] for r in rounds]) if len(rounds) > 1 else None


def _pair(ours: dict, theirs: dict, floor: float) -> Pair:
    samples = _samples(ours, theirs)
    ratio = fits.compare(*samples, floor) if samples else None
    place = (problem(ours), work(ours), ours.get(LENGTH), contender(theirs))
    return Pair(*place, ours, theirs, ratio, _same_program(ours, theirs))


def _order(pair: Pair) -> tuple:
    place = ORDER.index(pair.problem) if pair.problem in ORDER else len(ORDER)
    names = list(NAMES.values())
    return place, pair.problem, pair.work, pair.length, names.index(pair.peer) if pair.peer in names else 99, pair.peer
