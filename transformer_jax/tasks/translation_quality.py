"""How good translations are: corpus BLEU and its interval, whole sentences, tokens at their places."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from transformer_jax.tasks.task import Batch, Write

# sacrebleu is imported where it is used: a task is built without it

RESAMPLES, SEED, ORDERS = 1000, 0, 4


class Span(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


class Written(NamedTuple):
    """What a model wrote for the sentences of a split, in the order of the split."""

    index: list[int]
    """Which pair of the split each is."""
    hypotheses: list[str]
    references: list[str]
    right: int
    """Target tokens, ends included, that stand at the same place in what was written."""
    tokens: int
    """Target tokens, ends included."""


@cache  # equal arguments give the same object, for which a step is compiled once
def make_judge(decode_target: Callable[[Iterable[int]], str]) -> Callable[[Write, Sequence[Batch]], dict[str, float]]:
    """judge(write, batches) -> the metrics of `judged`.

    decode_target: ids to text, up to the first end. It must lose nothing, as references come from the targets.
    """

    def judge(write: Write, batches: Sequence[Batch]) -> dict[str, float]:
        return judged(written(write, batches, decode_target))

    return judge


def written(write: Write, batches: Iterable[Batch], decode_target: Callable[[Iterable[int]], str]) -> Written:
    """Lets a model write every sentence of the batches; rows that fill up a batch (index -1) are left out."""
    found, right, tokens = [], 0, 0
    for batch in batches:
        ids_BxN = np.asarray(write(batch))
        for row in np.flatnonzero(batch["index"] >= 0).tolist():
            target = batch["targets"][row, : batch["lengths"][row]]
            ids = _up_to(ids_BxN[row], target[-1])
            shared = min(len(ids), len(target))
            right, tokens = right + int(np.sum(ids[:shared] == target[:shared])), tokens + len(target)
            found.append((int(batch["index"][row]), decode_target(ids.tolist()), decode_target(target.tolist())))
    return Written(*map(list, zip(*sorted(found), strict=True)), right, tokens)


def _up_to(ids_N: np.ndarray, end: int) -> np.ndarray:
    """What was written: the ids up to the first end, it included."""
    ends = np.flatnonzero(ids_N == end)
    return ids_N[: ends[0] + 1] if len(ends) else ids_N


def judged(written: Written) -> dict[str, float]:
    """bleu, bleu_low, bleu_high: as `score`; exact: the share of sentences that equal their reference;

    free_accuracy: the share of target tokens, ends included, that stand at the same place in what the model wrote
    after its own tokens. `accuracy` is after the right ones. With a word too many all that follow count as wrong, so
    that of free translations the gap holds more than mistakes.
    """
    bleu = score(statistics(written.hypotheses, written.references))
    exact = np.mean([h == r for h, r in zip(written.hypotheses, written.references, strict=True)])
    free_accuracy = written.right / written.tokens
    return {"bleu": bleu.value, "bleu_low": bleu.low, "bleu_high": bleu.high, "exact": float(exact),
            "free_accuracy": free_accuracy}  # fmt: skip


def signature() -> str:
    """How BLEU is counted, in sacrebleu's words."""
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    metric.corpus_score(["a"], [["a"]])  # it then knows that there is one reference
    return str(metric.get_signature())


def statistics(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """counts_Nx10 of each sentence, from which the BLEU of any set of them follows: the tokens of the hypothesis and
    of the reference, the n-grams found in the reference (n = 1 to 4), all n-grams of the hypothesis."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)  # does not change the counts; without it a sentence alone is warned about
    scores = [metric.sentence_score(h, [r]) for h, r in zip(hypotheses, references, strict=True)]
    return np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores], np.float64)


def score(counts_Nx10: np.ndarray) -> Span:
    """Corpus BLEU of 0 to 100 (sacrebleu's: 13a tokens, case kept, exponential smoothing), and its interval.

    The interval is a percentile bootstrap over sentences (Koehn, 2004): the same sentences give the same interval.
    """
    return _span(_bleu(counts_Nx10.sum(0)), _bleu(_resampled(counts_Nx10)))


def difference(one: Sequence[Written], other: Sequence[Written]) -> Span:
    """BLEU of one system minus that of another, both on the same resamples of the same sentences (Koehn, 2004).

    A system is what each of its lanes wrote; its BLEU is their mean.

    Raises:
      ValueError: the systems did not translate the same sentences.
    """
    if len({(tuple(lane.index), tuple(lane.references)) for lane in (*one, *other)}) > 1:
        raise ValueError("only systems that translated the same sentences have a paired difference")
    counts = [np.stack([statistics(lane.hypotheses, lane.references) for lane in lanes]) for lanes in (one, other)]
    value, values_R = (
        np.subtract(*(_bleu(sums_of(counts_LxNx10)).mean(-1) for counts_LxNx10 in counts))
        for sums_of in (lambda counts_LxNx10: counts_LxNx10.sum(1), _resampled)
    )
    return _span(value, values_R)


def _span(value: np.ndarray, values_R: np.ndarray) -> Span:
    low, high = np.quantile(values_R, [0.025, 0.975])
    return Span(float(value), float(low), float(high))


def _resampled(counts_Nx10: np.ndarray) -> np.ndarray:
    """sums_Rx10, or with axes between, of as many sentences as there are, drawn with replacement: which ones depends
    on their number alone."""
    count, random = counts_Nx10.shape[-2], np.random.default_rng(SEED)
    draws = (random.integers(count, size=count) for _ in range(RESAMPLES))
    return np.array([np.bincount(drawn, minlength=count) @ counts_Nx10 for drawn in draws])


def _bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU from sums (..., 10) as sacrebleu computes it, for many sets at once (Papineni et al., 2002; a precision of
    zero is smoothed as in NIST's mteval-v13a)."""
    lengths, references = sums[..., 0], sums[..., 1]
    found, of = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    halvings = np.cumsum(found == 0, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(found == 0, 2.0**-halvings, found) / of)
        brevity = np.minimum(0, 1 - references / lengths)
        scores = 100 * np.exp(logs.mean(-1) + brevity)
    return np.where(found.any(-1) & (of > 0).all(-1), scores, 0.0)
