"""Planted growth, crossings and ratios come back, and the intervals cover the truth as often as they say."""

from math import comb
from pathlib import Path

import numpy as np
import pytest

from transformer_jax import intervals
from transformer_jax.intervals import Estimate

T = 2.0 ** np.arange(6, 13)
SIMULATIONS = 2000
LEAST_COVERAGE = 0.93


def noise(rng, rounds, columns, simulations=SIMULATIONS):
    """Factors on a time: what a round shares, log-normal jitter, and a burst in one sample of twenty."""
    shape = (simulations, rounds, columns)
    bursts = (rng.random(shape) < 0.05) * np.log1p(rng.exponential(0.5, shape))
    return np.exp(rng.normal(0, 0.03, shape[:2] + (1,)) + rng.normal(0, 0.02, shape) + bursts)


def covered(estimates, truth):
    return np.mean([e.low <= truth <= e.high for e in estimates])


@pytest.mark.parametrize("rounds", [2, 5, 7, 8, 10, 20])
def test_interval_covers_with_jitter_alone_and_with_bursts(rounds):
    rng = np.random.default_rng(0)
    for burst_share in (0, 0.05, 0.2):
        shape = (rounds, 2, 20_000)
        log_times = rng.normal(0, 0.02, shape)
        log_times += (rng.random(shape) < burst_share) * np.log1p(rng.exponential(0.5, shape))
        _, low, high = intervals.interval(log_times[:, 0] - log_times[:, 1])
        assert ((low <= 0) & (high >= 0)).mean() > 0.945  # 0.95 less three standard errors of 20,000 trials


def test_one_round_says_nothing_of_a_time_and_everything_of_a_count():
    for part in intervals.interval(np.array([[3.0, 4.0]]), exact=True):
        np.testing.assert_array_equal(part, [3.0, 4.0])
    timed, counted = intervals.slope(T, [T**2]), intervals.slope(T, T**2)
    assert timed.value == pytest.approx(2) and (timed.low, timed.high) == (-np.inf, np.inf)
    assert intervals.growth_word(counted) == "quadratic" != intervals.growth_word(timed)
    assert intervals.verdict(intervals.ratio([5.0], [1.0])) == "undecided"
    assert intervals.verdict(intervals.ratio([5.0], [1.0], exact=True)) == "slower"
    assert np.isnan(intervals.crossing(T, [T**2], [256 * T]).at.value)
    assert intervals.crossing(T, T**2, 256 * T).at.value == pytest.approx(256)
    assert intervals.polynomial(T, [T**2]).c.high == np.inf


@pytest.mark.parametrize(("rounds", "critical"), [(8, 3), (10, 8), (15, 25), (20, 52), (25, 89)])
def test_signed_rank_tail_is_the_published_critical_value(rounds, critical):
    # Wilcoxon's two-sided 5 % table: McCornack, Journal of the American Statistical Association 60, 1965
    assert intervals._signed_rank_tail(rounds) == critical


@pytest.mark.parametrize("rounds", [5, 10])
@pytest.mark.parametrize("power", [1, 2])
def test_planted_exponent_is_covered(power, rounds):
    factors = noise(np.random.default_rng(power), rounds, len(T))
    exponents = [intervals.slope(T, 3e-6 * T**power * f) for f in factors]
    assert covered(exponents, power) >= LEAST_COVERAGE


@pytest.mark.parametrize("rounds", [5, 10])
def test_planted_crossover_is_covered(rounds):
    attention, rnn = 3e-5 + 1e-7 * T + 1e-9 * T**2, 1e-4 + 6e-7 * T
    (truth,) = (root.real for root in np.roots([1e-9, -5e-7, -7e-5]) if root > 0)
    factors = noise(np.random.default_rng(3), rounds, 2 * len(T), simulations=1000)
    found = [intervals.crossing(T, attention * f[:, : len(T)], rnn * f[:, len(T) :]) for f in factors]
    seen = [c.at for c in found if c.count]
    assert len(seen) > 0.98 * len(found)
    assert covered(seen, truth) >= LEAST_COVERAGE
    assert np.median([c.high / c.low for c in seen]) < 1.25  # the interval also says something


def test_polynomial_is_covered_and_never_negative():
    truth = (2e-4, 5e-7, 4e-10)
    factors = noise(np.random.default_rng(4), 5, len(T), simulations=1000)
    fitted = [intervals.polynomial(T, (truth[0] + truth[1] * T + truth[2] * T**2) * f) for f in factors]
    for name, value in zip("abc", truth, strict=True):
        estimates = [getattr(p, name) for p in fitted]
        assert covered(estimates, value) >= LEAST_COVERAGE
        assert min(e.low for e in estimates) >= 0
        assert all(e.low <= e.value <= e.high for e in estimates)


def test_polynomial_of_a_deterministic_quantity_is_exact():
    d = 96
    p = intervals.polynomial(T, 24 * T * d**2 + 4 * T**2 * d)
    assert p.c.low == p.c.value == p.c.high == pytest.approx(4 * d)
    assert p.b.value == pytest.approx(24 * d**2)
    assert p(1000) == pytest.approx(24e3 * d**2 + 4e6 * d)


def test_polynomial_without_a_quadratic_term_reports_none():
    factors = noise(np.random.default_rng(5), 5, len(T), simulations=1000)
    fitted = [intervals.polynomial(T, (1e-4 + 5e-7 * T) * f) for f in factors]
    assert covered([p.c for p in fitted], 0) >= LEAST_COVERAGE


def test_a_polynomial_says_how_far_it_misses_and_misses_evenly():
    """Growth faster than T^2, as where scores fall out of the cache: no a + bT + cT² follows it."""
    cost = 1e-9 * T**2.4
    fitted = intervals.polynomial(T, np.stack([cost] * 5))
    miss = np.log(fitted(T) / cost)
    assert fitted.T == T[-1] and sum(fitted.shares) == pytest.approx(1)
    assert fitted.error == pytest.approx(np.expm1(np.abs(miss).max()))
    assert fitted.error > 0.3 and min(miss) < 0 < max(miss) and -min(miss) < 1.5 * max(miss)
    scaled = intervals.polynomial(T, np.stack([7 * cost] * 5))  # log errors know no unit
    np.testing.assert_allclose(scaled(T), 7 * fitted(T), rtol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_no_other_non_negative_polynomial_is_nearer_in_logs(seed):
    rng = np.random.default_rng(seed)
    cost = (1e-4 * rng.random() + 1e-6 * rng.random() * T + 1e-9 * rng.random() * T**2) * noise(rng, 1, len(T), 1)[0, 0]
    fitted = intervals.polynomial(T, cost)
    best = np.array([fitted.a.value, fitted.b.value, fitted.c.value])

    def loss(weights):
        return np.square(np.log((weights * T[:, None] ** np.arange(3)).sum(1) / cost)).sum()

    scale = cost[-1] / T[-1] ** np.arange(3.0)
    for _ in range(200):
        near = np.clip(best + 1e-3 * rng.normal(size=3) * scale * 10 ** rng.uniform(-4, 0), 0, None)
        assert near.sum() == 0 or loss(near) >= loss(best) * (1 - 1e-6)


def test_exponent_and_local_slopes_of_a_block():
    d = 64
    flops = 24 * T * d**2 + 4 * T**2 * d
    slopes = intervals.local_slopes(T, flops)
    at_six_d = intervals.slope(
        [6 * d * 0.999, 6 * d * 1.001], [24 * t * d**2 + 4 * t**2 * d for t in (383.616, 384.384)]
    )
    assert at_six_d.value == pytest.approx(1.5, abs=1e-4)  # the local exponent is 1 + T / (T + 6 d)
    assert [s.value for s in slopes] == sorted(s.value for s in slopes)
    assert len(slopes) == len(T) - 1
    asymptotic = intervals.slope(T[-3:], flops[-3:])
    assert asymptotic.low == asymptotic.value == asymptotic.high > intervals.slope(T, flops).value


def test_lengths_may_come_in_any_order():
    order = np.random.default_rng(6).permutation(len(T))
    samples = noise(np.random.default_rng(7), 5, len(T), 1)[0] * T
    assert intervals.slope(T[order], samples[:, order]) == intervals.slope(T, samples)


def test_quadratic_is_claimed_only_if_the_whole_interval_is():
    assert intervals.growth_word(Estimate(1.95, 1.81, 2.09, 5)) == "quadratic"
    assert intervals.growth_word(Estimate(1.95, 1.80, 2.10, 5)) == "undecided"
    assert intervals.growth_word(Estimate(2.5, 2.19, 2.8, 5)) == "quadratic"
    assert intervals.growth_word(Estimate(2.5, 2.21, 2.8, 5)) == "above quadratic"
    assert intervals.growth_word(intervals.slope(T, T**1.5)) == "between linear and quadratic"
    words = {(0.9, 1.1): "about linear", (0.7, 0.79): "below linear", (0.5, 1.3): "below quadratic"}
    assert all(intervals.growth_word(Estimate(1, *ends, 5)) == word for ends, word in words.items())


def test_bic_prefers_the_planted_law_and_the_share_of_the_square_is_covered():
    factors = noise(np.random.default_rng(11), 6, len(T), simulations=300)
    terms = 1e-6 * T + 4e-9 * T**2
    truth = 4e-9 * T[-1] ** 2 / terms[-1]
    fitted = [intervals.polynomial(T, terms * f) for f in factors]
    assert covered([p.share for p in fitted], truth) >= LEAST_COVERAGE
    assert all(0 <= p.share.low <= p.share.value <= p.share.high <= 1 for p in fitted)
    powers = [intervals.polynomial(T, 1e-8 * T**1.5 * f) for f in factors]
    assert np.mean([p.bic > 0 for p in fitted]) > 0.8 and np.mean([p.bic < 0 for p in powers]) > 0.8
    once = intervals.polynomial(T, (terms * factors[0])[:1])
    assert np.isnan(once.bic) and np.isinf(once.share.high)
    counted = intervals.polynomial(T, terms)
    assert counted.share.low == counted.share.high == pytest.approx(truth) and np.isnan(counted.bic)


def test_crossover_of_flops_lies_at_two_d():
    d = 128  # attention 8 T d^2 + 4 T^2 d against an LSTM's 16 T d^2
    found = intervals.crossing(T * 1.1, 8 * T * 1.1 * d**2 + 4 * (T * 1.1) ** 2 * d, 16 * T * 1.1 * d**2)
    assert found.at.value == pytest.approx(2 * d, rel=2e-3)
    assert found.at.low == found.at.high == found.at.value
    assert found.count == 1 and set(found.order) == {-1, 1}


def test_crossover_exactly_on_a_measured_length():
    assert intervals.crossing(T, T**2, 256 * T).at.value == pytest.approx(256)


def test_without_a_crossing_the_lengths_say_between_which_bounds_it_can_be():
    jitter = noise(np.random.default_rng(8), 5, len(T), 2)
    always = intervals.crossing(T, 0.2 * T * jitter[0], T * jitter[1])
    assert np.isnan(always.at.value) and always.at[1:] == (4096, np.inf, 5) and always.count == 0
    assert intervals.crossing(T, 9 * T * jitter[0], T * jitter[1]).at[1:] == (0, 64, 5)
    both = np.exp(np.random.default_rng(9).normal(0, 0.05, (5, len(T))))
    same = intervals.crossing(T, T * both, T * both[::-1])
    assert np.isnan(same.at.value) and same.at[1:3] == (0, np.inf) and set(same.order) == {0}
    late = intervals.crossing(T, T * both * np.where(T > 1000, 3, 1), T * both[::-1])
    assert np.isnan(late.at.value) and late.at[1:3] == (0, 1024)


def test_between_lengths_of_different_programs_no_count_is_interpolated():
    T = np.array([32, 64, 128, 256])
    a, b = T**2.0, 90.0 * T
    assert intervals.crossing(T, a, b).at.value == pytest.approx(90, rel=1e-3)
    between = intervals.crossing(T, a, b, programs=["plain", "plain", "blocks", "blocks"])
    assert np.isnan(between.at.value) and between.at[1:3] == (64, 128) and between.count == 1
    back = intervals.crossing(T[::-1], a[::-1], b[::-1], programs=["b", "b", "a", "a"])
    assert back.at[1:3] == (64, 128)
    sampled = intervals.crossing(T, np.tile(a, (5, 1)), np.tile(b, (5, 1)), programs=["a", "a", "b", "b"])
    assert sampled.at.value == pytest.approx(90, rel=1e-3)  # a time has an interval; it is interpolated


def test_where_a_grows_more_slowly_no_length_bounds_a_crossing():
    T, rounds = np.array([64, 256, 1024]), np.exp(0.01 * np.random.default_rng(0).standard_normal((2, 9, 3)))
    a, b = rounds[0] * [1.0, 2.0, 4.0], rounds[1] * [1.0, 4.0, 16.0]
    found = intervals.crossing(T, a, b)
    assert found.order == (0, -1, -1) and (found.at.low, found.at.high) == (0, np.inf)


def test_of_several_crossings_the_first_is_reported_and_the_rest_counted():
    log_ratio = np.array([0.5, 0.2, -0.3, -0.6, -0.2, 0.3, 0.5])
    found = intervals.crossing(T, T * np.exp(log_ratio), T)
    assert found.count == 2
    assert 128 < found.at.value < 256


def test_the_verdict_of_a_ratio_comes_from_its_interval_alone():
    a = np.array([1.00, 1.01, 0.99, 1.02, 1.00])
    assert intervals.ratio(1.1 * a, a) == Estimate(*[pytest.approx(1.1)] * 3, 5)
    assert intervals.verdict(intervals.ratio(1.1 * a, a)) == "slower"
    assert intervals.verdict(intervals.ratio(a, 1.1 * a)) == "faster"
    assert intervals.verdict(intervals.ratio(a, a[::-1])) == "about equal"
    assert intervals.verdict(intervals.ratio(a[:1], a[:1], exact=True)) == "equal"
    places = {(0.8, 1.25): "about equal", (0.79, 1.1): "undecided", (0.9, 1.3): "undecided", (0.999, 1): "about equal",
              (1.0001, 9): "slower", (0.1, 0.9999): "faster"}  # fmt: skip
    for (low, high), expected in places.items():
        assert intervals.verdict(Estimate(1, low, high, 5)) == expected
    assert intervals.verdict(intervals.NOTHING) == "undecided"
    assert intervals.mean([1, 2, 3]) == Estimate(
        2, pytest.approx(2 - 2.484, abs=1e-3), pytest.approx(4.484, abs=1e-3), 3
    )


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((8.78, 7.41, 9.08), "about in proportion"),
        ((9.96, 9.50, 10.5), "more than in proportion"),  # it excludes 8, although the exponent is 1.1
        ((6.0, 5.0, 7.0), "less than in proportion"),
        ((8.0, 6.0, 11.0), "undecided"),
        ((8.0, 8.0, 8.0), "about in proportion"),
    ],
)
def test_what_rises_in_proportion_has_an_interval_that_holds_the_factor(interval, word):
    assert intervals.proportion(Estimate(*interval, 5), 8) == word


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intervals.slope(T, -T), "positive"),
        (lambda: intervals.slope(T, np.full(len(T), np.nan)), "finite"),
        (lambda: intervals.slope(T, T[:-1]), "one column"),
        (lambda: intervals.slope([64, 64], [1, 2]), "distinct"),
        (lambda: intervals.slope([64], [1]), "two lengths"),
        (lambda: intervals.polynomial(T[:2], T[:2]), "three lengths"),
        (lambda: intervals.crossing(T, T, T[:-1]), "one column"),
    ],
)
def test_impossible_samples_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


RECORDED = np.loadtxt(Path(__file__).with_name("recorded_noise.txt"))


def recorded_pairs(rounds, factor=1.0, simulations=SIMULATIONS):
    """Comparisons of a step with one `factor` times as long, under the noise of a real run on shared cores."""
    rng = np.random.default_rng(11)
    samples = np.exp(rng.choice(RECORDED, (simulations, 2, rounds)))
    return [intervals.ratio(factor * b, a) for a, b in samples]


@pytest.mark.parametrize("rounds", [5, 7, 10, 40])
def test_a_program_is_not_told_from_itself_under_recorded_noise(rounds):
    ratios = recorded_pairs(rounds)
    assert covered(ratios, 1) >= 0.95 - 3 * (0.95 * 0.05 / SIMULATIONS) ** 0.5


@pytest.mark.parametrize(("factor", "rounds"), [(2.0, 5), (1.5, 8), (1.1, 80)])
def test_how_many_rounds_find_a_slowdown_under_recorded_noise(factor, rounds):
    """A sample's standard deviation is 17 % there: a tenth takes 80 rounds, a factor of two the default 5."""
    verdicts = [intervals.verdict(ratio) for ratio in recorded_pairs(rounds, factor)]
    assert verdicts.count("slower") >= 0.9 * len(verdicts)
    assert verdicts.count("faster") <= 0.001 * len(verdicts)


@pytest.mark.parametrize("rounds", [(5, 5), (5, 20), (11, 12)])
def test_a_ratio_of_two_runs_is_covered_whatever_their_spreads(rounds):
    rng = np.random.default_rng(9)
    a, b = (rng.normal(0, spread, (SIMULATIONS, n)) for spread, n in zip((0.05, 0.15), rounds, strict=True))
    found = [intervals.ratio_unpaired(1.3 * np.exp(x), np.exp(y)) for x, y in zip(a, b, strict=True)]
    assert covered(found, 1.3) >= LEAST_COVERAGE
    assert {e.n for e in found} == {min(rounds)}


def test_a_ratio_of_two_runs_is_welchs():
    from scipy import stats

    a, b = np.array([1.0, 1.1, 1.3, 0.9]), np.array([2.0, 2.2, 1.7])
    welch = stats.ttest_ind(np.log(a), np.log(b), equal_var=False).confidence_interval(0.95)
    found = intervals.ratio_unpaired(a, b)
    assert (found.low, found.high, found.n) == (pytest.approx(np.exp(welch.low)), pytest.approx(np.exp(welch.high)), 3)
    assert intervals.verdict(intervals.ratio_unpaired([5.0], [1.0, 1.0])) == "undecided"
    assert intervals.ratio_unpaired([5.0, 5.0], [1.0, 1.0]) == (pytest.approx(5), pytest.approx(5), pytest.approx(5), 2)
    with pytest.raises(ValueError, match="positive"):
        intervals.ratio_unpaired([1.0, 0.0], [1.0])


def interquartile_mean(values):
    """Of the last axis: the mean without the lowest and the highest quarter."""
    cut = values.shape[-1] // 4
    return np.sort(values, -1)[..., cut : values.shape[-1] - cut].mean(-1)


def test_a_stratified_bootstrap_of_five_seeds_covers_too_rarely_to_be_used():
    """docs/notes/verdicts.md: the interquartile mean over 3 tasks x 5 seeds, percentiles of resampled seeds."""
    rng, tasks, seeds, resamples = np.random.default_rng(0), 3, 5, 300
    means = np.linspace(0.2, 0.8, tasks)[:, None]

    def drawn(count):
        return means + np.where(rng.random((tasks, count)) < 0.2, -0.4, 0.1)  # a seed in five does not learn

    truth, hits = interquartile_mean(drawn(200_000).reshape(-1)), []
    for _ in range(300):
        found = np.broadcast_to(drawn(seeds), (resamples, tasks, seeds))
        again = np.take_along_axis(found, rng.integers(0, seeds, found.shape), 2)
        low, high = np.quantile(interquartile_mean(again.reshape(resamples, -1)), (0.025, 0.975))
        hits.append(low <= truth <= high)
    assert np.mean(hits) < LEAST_COVERAGE


@pytest.mark.parametrize("n", [1, 5, 10])
def test_the_interval_of_a_count_covers_every_share(n):
    """The probability of each count, exactly: Clopper and Pearson's covers at least 95 of 100 whatever the truth."""
    found = [intervals.share([1] * right + [0] * (n - right)) for right in range(n + 1)]
    for truth in np.linspace(0, 1, 101):
        chances = [comb(n, k) * truth**k * (1 - truth) ** (n - k) for k in range(n + 1)]
        covered = sum(p for p, one in zip(chances, found, strict=True) if one.low <= truth <= one.high)
        assert covered >= 0.95 - 1e-9


def test_where_so_few_rounds_allow_no_such_confidence_an_interval_has_no_end():
    values = np.arange(8.0)
    assert intervals.mean(values, confidence=0.99).low > -np.inf
    assert intervals.mean(values, confidence=0.999)[:3] == (3.5, -np.inf, np.inf)
