"""How a cost grows with length and where two costs cross, each with a 95 % interval over rounds.

Samples are arrays of rounds x lengths, one row for each interleaved round. What the rounds share (a slow machine)
cancels in slopes and ratios, so each round gives one estimate and the interval is taken over those. With few rounds
it is Student's t: it covers the truth 95 to 98 times in 100, where the percentile bootstrap of five rounds does 83.
From `SIGNED_RANK_ROUNDS` on it is the signed-rank interval, which covers as well and which few bursts do not widen.

A deterministic quantity (FLOPs, bytes) is given as a vector over lengths, without rounds: its interval is the point
itself. One round of samples has no interval: it reaches from -inf to inf, so that nothing follows from it.

No sample is thrown away, and no other rule stands above an interval. It is of what the machine was in those rounds:
another load slows one program more than another, and so moves ratios of different programs.
"""

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

# scipy is imported where it is used: it takes half a second to load, and a clock has no need of it

CONFIDENCE, SIGNED_RANK_ROUNDS = 0.95, 8
ABOUT_EQUAL = (0.8, 1.25)
"""An interval of a ratio that holds 1 and lies inside these is called about equal; docs/notes/verdicts.md."""
ABOUT_POWER = 0.2
"""How far an interval may reach from 1 or 2 and its exponent still be called linear or quadratic."""


class Estimate(NamedTuple):
    """A value and its 95 % interval; n: over how many rounds."""

    value: float
    low: float
    high: float
    n: int


NOTHING = Estimate(np.nan, -np.inf, np.inf, 0)
"""The estimate from no round at all: nothing follows from it."""


class Polynomial(NamedTuple):
    """cost = a + b T + c T^2, all non-negative; T is the longest length of the fit.

    error: the largest relative distance of the fit from the centre of the rounds, over the lengths of the fit.
    share: what c T^2 contributes at the longest length, of the sum.
    bic: by how much BIC prefers it to a pure power of T; negative where it prefers the power, nan where that is open.
    """

    a: Estimate
    b: Estimate
    c: Estimate
    T: float
    error: float
    share: Estimate
    bic: float

    def __call__(self, T):
        """The fitted cost at the lengths T."""
        T = np.asarray(T, float)
        return self.a.value + self.b.value * T + self.c.value * T**2

    @property
    def shares(self) -> tuple[float, float, float]:
        """What a, b T and c T^2 each contribute at the longest length, as shares of their sum."""
        return tuple(term.value * self.T**power / float(self(self.T)) for power, term in enumerate(self[:3]))


class Crossing(NamedTuple):
    """Where the cost of a, which grows faster, passes that of b.

    at: the length. Its value is nan where only bounds are known: of a count with other programs on the two sides
    (`crossing`), and where the order is nowhere seen to be reversed; it is then above the last length at which a costs
    less, below the first at which it costs more, and a bound is 0 or infinite where there is none, or where a grows
    more slowly than b.
    count: how many crossings the range holds; `at` is the first.
    order: at each of `lengths`, in rising order, 1 where a costs more, -1 where it costs less, 0 where that is open.
    """

    at: Estimate
    count: int
    order: tuple[int, ...]
    lengths: tuple[float, ...]


def interval(
    values_RxN, exact: bool = False, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, low and high of a 95 % interval over the first axis (R independent rounds), each of shape (N,).

    R = 1: -inf to inf, or the point if it is exact. R < SIGNED_RANK_ROUNDS: mean and Student's t. Else the
    Hodges-Lehmann estimate and the signed-rank interval (Annals of Mathematical Statistics 34, 1963), exact for
    symmetric noise of any shape; it has no end where R rounds allow none of that confidence.
    """
    values = np.asarray(values_RxN, float)
    R = len(values)
    if R == 1:
        width = np.full(values[0].shape, 0.0 if exact else np.inf)
        return values[0], values[0] - width, values[0] + width
    if R < SIGNED_RANK_ROUNDS:
        from scipy import special  # a quarter of a second where scipy.stats, which gives the same, takes one

        mean = values.mean(0)
        half = special.stdtrit(R - 1, (1 + confidence) / 2) * values.std(0, ddof=1) / R**0.5
        return mean, mean - half, mean + half
    i, j = np.triu_indices(R)
    walsh = np.sort((values[i] + values[j]) / 2, axis=0)
    outside, centre = _signed_rank_tail(R, confidence), np.median(walsh, axis=0)
    return (centre, walsh[outside], walsh[-1 - outside]) if outside >= 0 else (centre, centre - np.inf, centre + np.inf)


@cache
def _signed_rank_tail(R: int, confidence: float = CONFIDENCE) -> int:
    """How many of the sorted pairwise means to leave out on either side to keep 95 %; -1: all are too few."""
    ways = np.ones(1)
    for rank in range(1, R + 1):  # how many of the 2^R choices of signs give each sum of positive ranks
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    return int(np.searchsorted(ways.cumsum() / 2.0**R, (1 - confidence) / 2, side="right")) - 1


def mean(values_R, exact: bool = False, confidence: float = CONFIDENCE) -> Estimate:
    """The average over rounds. exact: the values are counted, not sampled, so that one of them is the whole truth."""
    values = np.asarray(values_R, float)[:, None]
    return _estimate(*interval(values, exact, confidence), len(values))


def share(right_R) -> Estimate:
    """Of rounds that are each right (1) or wrong (0) the share that is right, with Clopper and Pearson's interval
    (Biometrika 26, 1934), which covers at least as often as it says: five of five may be of a share from 0.478 on."""
    from scipy import special

    n, right, tail = len(right_R), int(np.sum(right_R)), (1 - CONFIDENCE) / 2
    low = special.betaincinv(right, n - right + 1, tail) if right else 0.0
    high = special.betaincinv(right + 1, n - right, 1 - tail) if right < n else 1.0
    return _estimate(right / n, low, high, n)


def ratio(a_R, b_R, exact: bool = False) -> Estimate:
    """a over b; sample r of both comes from round r. ValueError where a sample is not positive and finite."""
    (a,), (b,) = _positive(a_R), _positive(b_R)
    return _estimate(*map(np.exp, interval(np.log(a) - np.log(b), exact)), len(a))


def ratio_unpaired(a, b) -> Estimate:
    """a over b, the samples of two runs, which no round pairs; n: of the fewer. Welch's t interval of the log ratio.

    One sample has no interval. Samples without any spread are a count, and their ratio a point. ValueError where a
    sample is not positive and finite.
    """
    from scipy import special

    logs = [np.log(_positive(samples)[0]) for samples in (a, b)]
    value, n = logs[0].mean() - logs[1].mean(), min(map(len, logs))
    if n < 2:
        return _estimate(np.exp(value), 0, np.inf, n)
    parts = np.array([x.var(ddof=1) / len(x) for x in logs])
    if not parts.any():
        return _estimate(*np.exp([value] * 3), n)
    freedom = parts.sum() ** 2 / sum(part**2 / (len(x) - 1) for part, x in zip(parts, logs, strict=True))
    half = special.stdtrit(freedom, (1 + CONFIDENCE) / 2) * parts.sum() ** 0.5
    return _estimate(*np.exp([value, value - half, value + half]), n)


def verdict(ratio: Estimate) -> str:
    """What the interval of a ratio of times allows to say of the numerator.

    "slower" or "faster" where it excludes 1; "equal" where it is the point 1; "about equal" where it holds 1 and
    lies inside ABOUT_EQUAL; else "undecided".
    """
    if ratio.low == ratio.high == 1:
        return "equal"
    if not ratio.low <= 1 <= ratio.high:
        return "slower" if ratio.low > 1 else "faster"
    inside = ABOUT_EQUAL[0] <= ratio.low and ratio.high <= ABOUT_EQUAL[1]
    return "about equal" if inside else "undecided"


def proportion(ratio: Estimate, factor: float) -> str:
    """Whether a cost rose by as much as what was varied: `verdict` of its ratio over `factor`, by which that rose."""
    held = {"slower": "more than in proportion", "faster": "less than in proportion", "undecided": "undecided"}
    return held.get(verdict(Estimate(*(end / factor for end in ratio[:3]), ratio.n)), "about in proportion")


def slope(T, samples_RxT) -> Estimate:
    """The exponent of growth: log cost against log length. ValueError with fewer than two lengths."""
    T, y = _sorted(T, samples_RxT)
    x = np.log(T) - np.log(T).mean()
    return _estimate(*interval(np.log(y) @ x / (x @ x), np.ndim(samples_RxT) == 1), len(y))


def local_slopes(T, samples_RxT) -> list[Estimate]:
    """The exponent between each length and the next, in rising order of length."""
    exact = np.ndim(samples_RxT) == 1
    T, y = _sorted(T, samples_RxT)
    pairs = [(T[i : i + 2], y[:, i : i + 2]) for i in range(len(T) - 1)]
    return [slope(two, samples[0] if exact else samples) for two, samples in pairs]


def growth_word(slope: Estimate) -> str:
    """What an exponent may be called by its whole interval.

    "quadratic" only where that lies above 2 - ABOUT_POWER, "above quadratic" where it lies above 2 + ABOUT_POWER.
    """
    if slope.low > 2 - ABOUT_POWER:
        return "above quadratic" if slope.low > 2 + ABOUT_POWER else "quadratic"
    if slope.high > 2 - ABOUT_POWER:
        return "undecided"
    if slope.high < 1 - ABOUT_POWER:
        return "below linear"
    if slope.low >= 1 - ABOUT_POWER and slope.high <= 1 + ABOUT_POWER:
        return "about linear"
    return "between linear and quadratic" if slope.low > 1 else "below quadratic"


def polynomial(T, samples_RxT) -> Polynomial:
    """Least squares of the log errors of a + b T + c T^2. ValueError with fewer than three lengths.

    The values are the non-negative fit of the rounds' centre. The intervals come from a fit of each round without
    that bound, linearised about the values, cut at zero and stretched to the value: bounded fits of the rounds would
    push the noise about a zero to one side. Relative errors in place of logs would draw the fit to the low points.
    """
    T, y = _sorted(T, samples_RxT)
    if len(T) < 3:
        raise ValueError(f"a + b T + c T^2 needs three lengths, got {len(T)}")
    basis, centre = (T[:, None] / T[-1]) ** np.arange(3), np.exp(interval(np.log(y))[0])
    value = _nonnegative(basis, centre)
    fit, total = basis @ value, value.sum()
    low = high = value = np.append(value, value[2] / total)
    if len(y) == 1 and np.ndim(samples_RxT) > 1:
        low, high = np.zeros(4), np.full(4, np.inf)
    elif len(y) > 1:
        steps = np.linalg.lstsq(basis / fit[:, None], np.log(y / fit).T, rcond=None)[0].T
        of_share = (steps[:, 2] - value[3] * steps.sum(1)) / total
        _, low, high = interval(value + np.column_stack([steps, of_share]))
        low, high = np.clip(np.minimum(low, value), 0, None), np.maximum(high, value)
        high[3] = min(high[3], 1.0)
    a, b, c, share = np.stack([value, low, high], axis=1) * T[-1] ** -np.array([0.0, 1.0, 2.0, 0.0])[:, None]
    error = np.expm1(np.abs(np.log(fit / centre)).max())
    terms = (_estimate(*row, len(y)) for row in (a, b, c))
    return Polynomial(*terms, float(T[-1]), float(error), _estimate(*share, len(y)), _bic(T, y, fit))


def _bic(T, y_RxT: np.ndarray, fit_T: np.ndarray) -> float:
    """BIC of the power law less that of the fit: least squares of logs, each round with a level of its own."""
    R, x = len(y_RxT), np.log(T) - np.log(T).mean()
    logs, fitted = np.log(y_RxT), np.log(fit_T)
    logs = logs - logs.mean(1, keepdims=True)
    power = np.square(logs - (logs @ x).mean() / (x @ x) * x).sum()
    terms = np.square(logs - (fitted - fitted.mean())).sum()
    N = R * (len(T) - 1)  # a level for each round; then one number for the power and two for the terms
    if R == 1 or min(power, terms) < 1e-20:  # counted, or too little to tell apart
        return float("nan")
    return float(N * np.log(power / terms) - np.log(N))


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


def crossing(T, a_RxT, b_RxT, programs=None) -> Crossing:
    """The first length at which the cost of a equals that of b; row r of both is the same round.

    A crossing lies between two lengths at which the interval of the log ratio excludes 0 and between which the order
    is reversed. There each round's log ratio is interpolated by a cubic spline in log T; the interval is every length
    at which the ratio's holds 1. ValueError with fewer than two lengths.

    programs: what ran at each length. Between lengths of different programs a count, whose interval is a point, is not
    interpolated: its crossing has those two as its bounds, and no value.
    """
    programs = np.zeros(len(T)) if programs is None else np.unique(list(map(str, programs)), return_inverse=True)[1]
    programs = programs[np.argsort(T)]
    (_, b), (T, a) = _sorted(T, b_RxT), _sorted(T, a_RxT)
    exact = np.ndim(a_RxT) == 1
    x, log_ratio = np.log(T), np.log(a) - np.log(b)
    _, low, high = interval(log_ratio, exact)
    order = (low > 0).astype(int) - (high < 0)
    flips = [(i, j) for i, j in pairwise(np.flatnonzero(order)) if order[i] != order[j]]
    rest = len(flips), tuple(order.tolist()), tuple(T.tolist())
    if not flips:
        low, high = T[order < 0].max(initial=0), T[order > 0].min(initial=np.inf)
        if interval(log_ratio @ (x - x.mean()), exact)[2] < 0:  # a grows more slowly: no length bounds a crossing
            low, high = 0, np.inf
        return Crossing(_estimate(np.nan, low, high, len(log_ratio)), *rest)
    i, j = flips[0]
    if exact and len(set(programs[i : j + 1])) > 1:
        return Crossing(_estimate(np.nan, T[i], T[j], len(log_ratio)), *rest)

    from scipy import interpolate

    grid = np.linspace(x[i], x[j], 401)
    centre, low, high = interval(interpolate.CubicSpline(x, log_ratio, axis=1)(grid), exact)
    k = int(np.argmax(np.sign(centre) != order[i]))  # the first point past the crossing; centre[0] is before it
    share = centre[k - 1] / (centre[k - 1] - centre[k])
    at = grid[k - 1] + share * (grid[k] - grid[k - 1])
    holds = np.append(grid[(low <= 0) & (high >= 0)], at)
    step = grid[1] - grid[0] if len(log_ratio) > 1 else 0.0  # the ends may lie up to a grid step further out
    found = _estimate(*np.exp([at, holds.min() - step, holds.max() + step]), len(log_ratio))
    return Crossing(found, *rest)


def _estimate(value, low, high, n: int) -> Estimate:
    return Estimate(*(float(np.squeeze(x)) for x in (value, low, high)), n)


def _positive(samples) -> np.ndarray:
    samples = np.atleast_2d(np.asarray(samples, float))
    if not (np.isfinite(samples).all() and (samples > 0).all()):
        raise ValueError("samples must be positive and finite: leave out cells that did not finish")
    return samples


def _sorted(T, samples_RxT) -> tuple[np.ndarray, np.ndarray]:
    """The lengths in rising order and the samples at them; ValueError with fewer than two."""
    T, y = np.asarray(T, float), _positive(samples_RxT)
    if y.shape[1:] != T.shape or len(set(T)) != len(T):
        raise ValueError(f"samples of shape {y.shape} need one column for each of the distinct lengths {T}")
    if len(T) < 2:
        raise ValueError(f"growth and crossings need two lengths; there is {T}")
    order = np.argsort(T)
    return T[order], y[:, order]
