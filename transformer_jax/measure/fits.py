"""How a cost grows with length and where two costs cross, each with a 95 % interval over rounds.

Samples are arrays of rounds x lengths, one row for each interleaved round. What the rounds share (a slow
machine) cancels in slopes and ratios, so each round gives one estimate and the interval is taken over those.
With few rounds it is Student's t: the percentile bootstrap of five rounds covers the truth 83 times in 100,
t 95 to 98 times. From `SIGNED_RANK_ROUNDS` rounds on it is the signed-rank interval, which covers as well and
which a few bursts do not widen.

A deterministic quantity (FLOPs, bytes) is one round: its interval is the point itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

CONFIDENCE = 0.95
SIGNED_RANK_ROUNDS = 8
QUADRATIC_SLOPE = 1.8


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Exponent(Estimate):
    """The slope of log cost against log length, over the lengths `first` to `last`."""

    first: float
    last: float


@dataclass(frozen=True)
class Ratio(Estimate):
    """How many times longer b takes than a. verdict: b is "faster", "slower" or "not distinguishable"."""

    verdict: str


@dataclass(frozen=True)
class Polynomial:
    """cost = a + b T + c T^2, all non-negative."""

    a: Estimate
    b: Estimate
    c: Estimate

    def __call__(self, T):
        """The fitted cost at the lengths T."""
        T = np.asarray(T, float)
        return self.a.value + self.b.value * T + self.c.value * T**2


@dataclass(frozen=True)
class Crossover:
    """The first length at which attention's cost equals the RNN's; length, low, high are None if none is.

    count: how many crossings the measured range holds. sentence: what was found, for a reader.
    """

    length: float | None
    low: float | None
    high: float | None
    count: int
    sentence: str


def interval(values_RxN) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, low and high of a 95 % interval over the first axis (R independent rounds), each of shape (N,).

    R = 1: the point. R < SIGNED_RANK_ROUNDS: mean and Student's t. Else the Hodges-Lehmann estimate and the
    signed-rank interval (Annals of Mathematical Statistics 34, 1963), exact for symmetric noise of any shape.
    """
    values = np.asarray(values_RxN, float)
    R = len(values)
    if R == 1:
        return values[0], values[0], values[0]
    if R < SIGNED_RANK_ROUNDS:
        mean = values.mean(0)
        from scipy import stats  # takes half a second, and timing alone needs none of it

        half = stats.t.ppf((1 + CONFIDENCE) / 2, R - 1) * values.std(0, ddof=1) / R**0.5
        return mean, mean - half, mean + half
    i, j = np.triu_indices(R)
    walsh = np.sort((values[i] + values[j]) / 2, axis=0)
    outside = _signed_rank_tail(R)
    return np.median(walsh, axis=0), walsh[outside], walsh[-1 - outside]


@cache
def _signed_rank_tail(R: int) -> int:
    """How many of the sorted pairwise means to leave out on either side to keep 95 %."""
    ways = np.ones(1)
    for rank in range(1, R + 1):  # how many of the 2^R choices of signs give each sum of positive ranks
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    return int(np.searchsorted(ways.cumsum() / 2.0**R, (1 - CONFIDENCE) / 2, side="right")) - 1


def compare(a_samples, b_samples, floor: float = 0.0) -> Ratio:
    """The ratio of b's step to a's; sample r of both comes from round r (see `timing.interleave`).

    floor: the relative difference within which this machine cannot tell a program from itself
    (`noise_floor`). A ratio within it, or whose interval holds 1, is "not distinguishable".
    """
    (a,), (b,) = _positive(a_samples), _positive(b_samples)
    value, low, high = (float(np.exp(x)) for x in interval(np.log(b) - np.log(a)))
    if low <= 1 <= high or abs(np.log(value)) <= np.log1p(floor):
        return Ratio(value, low, high, "not distinguishable")
    return Ratio(value, low, high, "slower" if value > 1 else "faster")


def noise_floor(pairs: Iterable[tuple]) -> float:
    """The largest relative difference between a program and itself, over pairs of its samples; 0 without any."""
    values = [compare(samples, same_samples).value for samples, same_samples in pairs]
    return max((max(value, 1 / value) for value in values), default=1.0) - 1


def fit_exponent(T, samples_RxT, first: float = 0, last: float = np.inf) -> Exponent:
    """Slope of log cost against log length over the lengths in first..last; ValueError if fewer than two."""
    T, y = _within(T, samples_RxT, first, last)
    x = np.log(T) - np.log(T).mean()
    value, low, high = interval(np.log(y) @ x / (x @ x))
    return Exponent(float(value), float(low), float(high), float(T[0]), float(T[-1]))


def local_slopes(T, samples_RxT) -> list[Exponent]:
    """The exponent between each length and the next."""
    T, y = _within(T, samples_RxT)
    return [fit_exponent(T, y, *pair) for pair in pairwise(T)]


def claim_quadratic(exponent: Exponent) -> bool:
    """Whether growth may be called quadratic: the whole interval of the slope lies above 1.8."""
    return exponent.low > QUADRATIC_SLOPE


def fit_polynomial(T, samples_RxT) -> Polynomial:
    """Least squares of the relative errors of a + b T + c T^2. ValueError with fewer than three lengths.

    The values are the non-negative fit of the rounds' centre. The intervals come from each round's
    unconstrained fit, cut at zero and stretched to the value: constrained fits of the rounds would push the
    noise about a zero to one side.
    """
    T, y = _within(T, samples_RxT)
    if len(T) < 3:
        raise ValueError(f"a + b T + c T^2 needs three lengths, got {len(T)}")
    centre = interval(y)[0]
    design = (T[:, None] / T[-1]) ** np.arange(3) / centre[:, None]
    from scipy import optimize  # takes half a second, and timing alone needs none of it

    low = high = value = optimize.nnls(design, np.ones(len(T)))[0]
    if len(y) > 1:
        _, low, high = interval(np.linalg.lstsq(design, (y / centre).T, rcond=None)[0].T)
        low, high = np.clip(np.minimum(low, value), 0, None), np.maximum(high, value)
    rows = np.stack([value, low, high], axis=1) * T[-1] ** -np.arange(3.0)[:, None]
    return Polynomial(*(Estimate(*map(float, row)) for row in rows))


def crossover(T, attention_RxT, rnn_RxT) -> Crossover:
    """The first length at which attention's cost equals the RNN's; row r of both is the same round.

    A crossing lies between two lengths at which the two are told apart and between which the order is
    reversed. There each round's log ratio is interpolated by a cubic spline in log T; the interval is every
    length at which the ratio's own interval holds 1.
    """
    T, attention = _within(T, attention_RxT)
    _, rnn = _within(T, rnn_RxT)
    x, log_ratio = np.log(T), np.log(attention) - np.log(rnn)
    _, low, high = interval(log_ratio)
    sign = (low > 0).astype(int) - (high < 0)
    decided = np.flatnonzero(sign)
    flips = [(i, j) for i, j in pairwise(decided) if sign[i] != sign[j]]
    if not flips:
        return Crossover(None, None, None, 0, _no_crossing(T, sign))

    i, j = flips[0]
    grid = np.linspace(x[i], x[j], 401)
    from scipy import interpolate  # takes half a second, and timing alone needs none of it

    centre, low, high = interval(interpolate.CubicSpline(x, log_ratio, axis=1)(grid))
    k = int(np.argmax(np.sign(centre) != sign[i]))  # the first point past the crossing; centre[0] is before it
    share = centre[k - 1] / (centre[k - 1] - centre[k])
    at = grid[k - 1] + share * (grid[k] - grid[k - 1])
    holds = np.append(grid[(low <= 0) & (high >= 0)], at)
    step = grid[1] - grid[0] if len(log_ratio) > 1 else 0.0  # the ends may lie up to a grid step further out
    length, first, last = (float(np.exp(v)) for v in (at, holds.min() - step, holds.max() + step))
    order = "faster below and slower above" if sign[i] < 0 else "slower below and faster above"
    more = f"; this is the first of {len(flips)} crossings" if len(flips) > 1 else ""
    return Crossover(length, first, last, len(flips), f"attention is {order}{more}")


def _no_crossing(T: np.ndarray, sign: np.ndarray) -> str:
    measured = f"the measured range, T = {T[0]:g} to {T[-1]:g}"
    decided = np.flatnonzero(sign)
    if not decided.size:
        return f"none in {measured}: the two are not distinguishable there"
    word = "slower" if sign[decided[0]] > 0 else "faster"
    where = "every" if decided.size == len(T) else f"{decided.size} of {len(T)}"
    return f"none in {measured}: attention is {word} at {where} lengths".replace("every lengths", "every length")


def _positive(samples) -> np.ndarray:
    samples = np.atleast_2d(np.asarray(samples, float))
    if not (np.isfinite(samples).all() and (samples > 0).all()):
        raise ValueError("samples must be positive and finite: leave out cells that did not finish")
    return samples


def _within(T, samples_RxT, first: float = 0, last: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    """The lengths in first..last, sorted, and the samples at them; ValueError with fewer than two."""
    T, y = np.asarray(T, float), _positive(samples_RxT)
    if y.shape[1:] != T.shape or len(set(T)) != len(T):
        raise ValueError(f"samples of shape {y.shape} need one column for each of the distinct lengths {T}")
    order = np.argsort(T)
    order = order[(T[order] >= first) & (T[order] <= last)]
    if len(order) < 2:
        raise ValueError(f"a slope needs two lengths in {first:g}..{last:g}; there are {sorted(T)}")
    return T[order], y[:, order]
