"""How a cost grows with length and where two costs cross, each with a 95 % interval over rounds.

Samples are arrays of rounds x lengths, one row for each interleaved round. What the rounds share (a slow
machine) cancels in slopes and ratios, so each round gives one estimate and the interval is taken over those.
With few rounds it is Student's t: the percentile bootstrap of five rounds covers the truth 83 times in 100,
t 95 to 98 times. From `SIGNED_RANK_ROUNDS` rounds on it is the signed-rank interval, which covers as well and
which a few bursts do not widen.

A deterministic quantity (FLOPs, bytes) is given as a vector over lengths, without rounds: its interval is the point
itself. One round of samples has no interval: it reaches from -inf to inf, so that nothing follows from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

# scipy is imported where it is used: it takes half a second to load, and a clock has no need of it

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
    """How many times longer b takes than a. verdict: b is "faster", "slower", "not distinguishable" or, of samples
    that are mostly suspect, "inconclusive"."""

    verdict: str


@dataclass(frozen=True)
class Polynomial:
    """cost = a + b T + c T^2, all non-negative, fitted over the lengths `first` to `last`.

    error: the largest relative distance of the fit from the centre of the rounds, over those lengths.
    """

    a: Estimate
    b: Estimate
    c: Estimate
    first: float
    last: float
    error: float

    def __call__(self, T):
        """The fitted cost at the lengths T."""
        T = np.asarray(T, float)
        return self.a.value + self.b.value * T + self.c.value * T**2


@dataclass(frozen=True)
class Crossover:
    """The first length at which attention's cost equals the RNN's; length, low, high are None if none is.

    count: how many crossings the measured range holds.
    """

    length: float | None
    low: float | None
    high: float | None
    count: int


def interval(values_RxN, exact: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, low and high of a 95 % interval over the first axis (R independent rounds), each of shape (N,).

    R = 1: -inf to inf, or the point if it is exact. R < SIGNED_RANK_ROUNDS: mean and Student's t. Else the
    Hodges-Lehmann estimate and the signed-rank interval (Annals of Mathematical Statistics 34, 1963), exact for
    symmetric noise of any shape.
    """
    values = np.asarray(values_RxN, float)
    R = len(values)
    if R == 1:
        width = np.full(values[0].shape, 0.0 if exact else np.inf)
        return values[0], values[0] - width, values[0] + width
    if R < SIGNED_RANK_ROUNDS:
        from scipy import special  # a quarter of a second where scipy.stats, which gives the same, takes one

        mean = values.mean(0)
        half = special.stdtrit(R - 1, (1 + CONFIDENCE) / 2) * values.std(0, ddof=1) / R**0.5
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


def compare(a_samples, b_samples, floor: float = 0.0, exact: bool = False, suspect: bool = False) -> Ratio:
    """The ratio of b's step to a's; sample r of both comes from round r.

    floor: the relative difference within which this machine cannot tell a program from itself
    (`noise_floor`). A ratio within it, or whose interval holds 1, is "not distinguishable"; so is every ratio of
    one round, unless the two are counted and not timed (exact). suspect: most of the samples were taken while the
    machine was noisy; whatever they say is "inconclusive".
    """
    (a,), (b,) = _positive(a_samples), _positive(b_samples)
    value, low, high = (float(np.exp(x)) for x in interval(np.log(b) - np.log(a), exact))
    if suspect:
        return Ratio(value, low, high, "inconclusive")
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
    value, low, high = interval(np.log(y) @ x / (x @ x), np.ndim(samples_RxT) == 1)
    return Exponent(float(value), float(low), float(high), float(T[0]), float(T[-1]))


def local_slopes(T, samples_RxT) -> list[Exponent]:
    """The exponent between each length and the next."""
    return [fit_exponent(T, samples_RxT, *pair) for pair in pairwise(_within(T, samples_RxT)[0])]


def claim_quadratic(exponent: Exponent) -> bool:
    """Whether growth may be called quadratic: the whole interval of the slope lies above 1.8."""
    return exponent.low > QUADRATIC_SLOPE


def fit_polynomial(T, samples_RxT) -> Polynomial:
    """Least squares of the log errors of a + b T + c T^2. ValueError with fewer than three lengths.

    The values are the non-negative fit of the rounds' centre. The intervals come from a fit of each round without
    that bound, linearised about the values, cut at zero and stretched to the value: bounded fits of the rounds would
    push the noise about a zero to one side. Relative errors in place of logs would draw the fit to the low points.
    """
    T, y = _within(T, samples_RxT)
    if len(T) < 3:
        raise ValueError(f"a + b T + c T^2 needs three lengths, got {len(T)}")
    basis, centre = (T[:, None] / T[-1]) ** np.arange(3), np.exp(interval(np.log(y))[0])
    low = high = value = _nonnegative(basis, centre)
    fit = basis @ value
    if len(y) == 1 and np.ndim(samples_RxT) > 1:
        low, high = np.zeros(3), np.full(3, np.inf)
    elif len(y) > 1:
        steps = np.linalg.lstsq(basis / fit[:, None], np.log(y / fit).T, rcond=None)[0].T
        _, low, high = interval(value + steps)
        low, high = np.clip(np.minimum(low, value), 0, None), np.maximum(high, value)
    rows = np.stack([value, low, high], axis=1) * T[-1] ** -np.arange(3.0)[:, None]
    error = np.expm1(np.abs(np.log(fit / centre)).max())
    return Polynomial(*(Estimate(*map(float, row)) for row in rows), float(T[0]), float(T[-1]), float(error))


def _nonnegative(basis: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Non-negative weights for the least sum of squares of log(basis @ weights / y): Gauss-Newton, halved steps."""
    from scipy import optimize

    def loss(weights):
        return np.square(np.log(basis @ weights / y)).sum()

    weights = optimize.nnls(basis / y[:, None], np.ones(len(y)))[0]
    for _ in range(50):
        fit = basis @ weights
        step = optimize.nnls(basis / fit[:, None], 1 - np.log(fit / y))[0] - weights
        while (better := loss(weights + step)) > loss(weights) and np.abs(step).max() > 1e-12 * np.abs(weights).max():
            step = step / 2
        gain = loss(weights) - better
        if not gain > 1e-12 * max(better, 1e-12):
            break
        weights = weights + step
    return weights


def crossover(T, attention_RxT, rnn_RxT, floor: float = 0.0, suspect=False) -> Crossover:
    """The first length at which attention's cost equals the RNN's; row r of both is the same round.

    A crossing lies between two lengths at which the two are told apart (as in `compare`) and between which the
    order is reversed. There each round's log ratio is interpolated by a cubic spline in log T; the interval is
    every length at which the two are not told apart. suspect: at which of the lengths most samples were taken while
    the machine was noisy; there the two are not told apart either.
    """
    suspect = np.broadcast_to(suspect, np.shape(T))[np.argsort(T)]
    lengths, (T, attention) = T, _within(T, attention_RxT)
    _, rnn = _within(lengths, rnn_RxT)
    exact, within = np.ndim(attention_RxT) == 1, np.log1p(floor)
    x, log_ratio = np.log(T), np.log(attention) - np.log(rnn)
    centre, low, high = interval(log_ratio, exact)
    sign = ((low > 0).astype(int) - (high < 0)) * (np.abs(centre) > within) * ~suspect
    decided = np.flatnonzero(sign)
    flips = [(i, j) for i, j in pairwise(decided) if sign[i] != sign[j]]
    if not flips:
        return Crossover(None, None, None, 0)

    from scipy import interpolate

    i, j = flips[0]
    grid = np.linspace(x[i], x[j], 401)
    centre, low, high = interval(interpolate.CubicSpline(x, log_ratio, axis=1)(grid), exact)
    k = int(np.argmax(np.sign(centre) != sign[i]))  # the first point past the crossing; centre[0] is before it
    share = centre[k - 1] / (centre[k - 1] - centre[k])
    at = grid[k - 1] + share * (grid[k] - grid[k - 1])
    holds = np.append(grid[((low <= 0) & (high >= 0)) | (np.abs(centre) < within)], at)
    step = grid[1] - grid[0] if len(log_ratio) > 1 else 0.0  # the ends may lie up to a grid step further out
    length, first, last = (float(np.exp(v)) for v in (at, holds.min() - step, holds.max() + step))
    return Crossover(length, first, last, len(flips))


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
