"""The harness proves itself: on a simulated machine with planted truths, and on this one where the truth is known."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from transformer_jax import intervals
from transformer_jax.measure import timing

MILLISECOND = 1_000_000
EQUAL = ("equal", "about equal", "undecided")  # the interval holds 1


class Machine:
    """A simulated machine and its clock: steps take log-normal times, its speed drifts, bursts double a step."""

    def __init__(self, seed=0, jitter=0.0, drift=0.0, burst_share=0.0):
        rng = np.random.default_rng(seed)
        size = 4096
        log_factors = rng.normal(0, jitter, size) + np.cumsum(rng.normal(0, drift, size))
        log_factors += (rng.random(size) < burst_share) * np.log(2)
        self.factors = np.exp(log_factors).tolist()
        self.time = self.steps = 0

    def now(self):
        return self.time

    def cpu(self):
        return 2 * self.time  # two busy threads

    def work(self, nanoseconds):
        self.time += round(nanoseconds * self.factors[self.steps % 4096])
        self.steps += 1

    def matmul(self):
        before = self.time
        self.work(10 * MILLISECOND)
        return (self.time - before) / 1e9

    def timer(self, nanoseconds, min_sample_seconds=0.02, **options):
        step = lambda: self.work(nanoseconds)  # noqa: E731
        return timing.Timer(step, min_sample_seconds, Calibrate(self.matmul), clock=self, **options)


class Calibrate:
    """A calibration that takes what it is told."""

    def __init__(self, seconds=lambda: 1.0):
        self.seconds, self.best_seconds = seconds, np.inf

    def __call__(self, max_age=0.0):
        seconds = self.seconds()
        self.best_seconds = min(self.best_seconds, seconds)
        return seconds


def samples_of(timers, rounds, seed):
    """Each timer once a round, in a new random order each time, as the runner asks the cells."""
    order, seconds = np.random.default_rng(seed), np.empty((len(timers), rounds))
    for round_ in range(rounds):
        for i in order.permutation(len(timers)):
            seconds[i, round_] = timers[i]().step_seconds
    return seconds


def noisy_machine(seed):
    """1 % jitter from step to step, a speed that wanders, a burst in one step of 50."""
    return Machine(seed, jitter=0.01, drift=0.002, burst_share=0.02)


def test_sample_lasts_long_enough_and_reports_a_step():
    machine = Machine()
    sample = machine.timer(3 * MILLISECOND, min_sample_seconds=0.1)()
    assert sample.inner_steps * 3e-3 >= 0.1
    assert sample.inner_steps < 1.5 * 0.1 / 3e-3
    assert sample == timing.Sample(
        pytest.approx(3e-3), pytest.approx(6e-3), sample.inner_steps, pytest.approx(0.01), noisy=False
    )


def test_a_burst_in_one_batch_does_not_count():
    machine = Machine()
    timer = machine.timer(10 * MILLISECOND, min_sample_seconds=0.04)
    machine.factors[(machine.steps + 2) % 4096] = 7.0  # one batch in the sample, after one calibration
    assert timer().step_seconds == pytest.approx(0.01)


def test_step_longer_than_a_sample_runs_once():
    assert Machine().timer(50 * MILLISECOND)().inner_steps == 1


def test_nanosecond_steps_reach_a_sample_too():
    sample = Machine().timer(40, min_sample_seconds=1e-3)()
    assert sample.inner_steps * 40 >= 1e6
    assert sample.step_seconds == pytest.approx(40e-9)


def test_clock_that_stands_still_is_an_error():
    with pytest.raises(RuntimeError, match="stands still"):
        timing.Timer(lambda: None, 1.0, Calibrate(), clock=Machine())


def scripted(calibrations, retries=2, best=np.inf):
    """A timer whose calibrations are given, and the list of steps' lengths that it has run."""
    machine, script = Machine(), iter(calibrations)
    calibrate = Calibrate(lambda: next(script))
    calibrate.best_seconds = best
    timer = timing.Timer(
        lambda: machine.work(30 * MILLISECOND), 0.02, calibrate, machine, max_drift=0.1, retries=retries
    )
    machine.steps = 0
    return timer, machine


def test_noisy_sample_is_taken_again():
    timer, machine = scripted([1.0, 1.5, 1.5])
    sample = timer()
    assert machine.steps == 2
    assert sample.calibration_seconds == 1.5
    assert sample.noisy  # half as slow again as the machine can be


def test_a_machine_that_is_slow_all_the_time_is_noisy_and_not_tried_again():
    timer, machine = scripted([1.5, 1.5], best=1.0)
    assert timer().noisy
    assert machine.steps == 1
    assert not scripted([1.2, 1.2], best=1.0)[0]().noisy


def test_noise_that_stays_is_flagged_after_a_bounded_number_of_tries():
    timer, machine = scripted([1.0, 1.5, 1.8, 3.0])
    sample = timer()
    assert machine.steps == 3
    assert sample.noisy
    assert sample.calibration_seconds == pytest.approx(1.65)  # the try with the least drift, 1.5 to 1.8


def test_drift_below_the_stated_share_is_not_noise():
    assert not scripted([1.0, 1.09])[0]().noisy
    assert scripted([1.11, 1.0], retries=0)[0]().noisy


@pytest.mark.parametrize("rounds", [5, 10])
def test_program_against_itself_is_not_told_apart(rounds):
    ratios = []
    for trial in range(600):  # 15 times the 40 trials that the claim is made of
        machine = noisy_machine(trial)
        ratios.append(intervals.ratio(*samples_of([machine.timer(5 * MILLISECOND) for _ in "AA"], rounds, trial)))
    covered = [r.low <= 1 <= r.high for r in ratios]
    assert np.mean(covered) >= 0.95 - 2 * (0.95 * 0.05 / len(ratios)) ** 0.5
    assert all((intervals.verdict(r) in EQUAL) == c for r, c in zip(ratios, covered, strict=True))


@pytest.mark.parametrize(("rounds", "found_at_least"), [(5, 0.9), (12, 0.99)])
def test_planted_slowdown_of_a_tenth_is_found(rounds, found_at_least):
    ratios = []
    for trial in range(200):
        machine = noisy_machine(trial)
        timers = [machine.timer(t * MILLISECOND) for t in (5.5, 5.0)]
        ratios.append(intervals.ratio(*samples_of(timers, rounds, trial)))
    verdicts = [intervals.verdict(r) for r in ratios]
    assert verdicts.count("slower") / len(verdicts) >= found_at_least
    assert "faster" not in verdicts
    assert np.mean([r.low <= 1.1 <= r.high for r in ratios]) >= 0.93


def test_compile_is_apart_and_inputs_stay_arguments():
    x, w = jnp.ones((6, 11)), jnp.ones((11, 7))
    compiled = timing.compile_program(lambda x, w: jnp.tanh(x @ w), (x, w))
    assert compiled.compile_seconds > 0
    assert len(re.findall(r"= f32\[.*parameter\(", compiled.program.as_text().split("ENTRY")[1])) == 2
    np.testing.assert_allclose(compiled(2 * x, w), np.tanh(22 * np.ones((6, 7))), rtol=1e-6)


def test_what_came_from_the_compilation_cache_is_said(tmp_path, compilation_cache_in):
    def step(x):
        return jnp.sin(x) * 3

    with compilation_cache_in(tmp_path):
        assert not timing.compile_program(step, (jnp.ones(5),)).cached
        jax.clear_caches()
        assert timing.compile_program(step, (jnp.ones(5),)).cached


def test_shapes_suffice_to_compile_and_donation_aliases():
    spec = jax.ShapeDtypeStruct((8, 128), jnp.float32)
    compiled = timing.compile_program(lambda x: x + 1, (spec,), donate=(0,))
    assert compiled.program.memory_analysis().alias_size_in_bytes == 8 * 128 * 4


def test_every_step_of_a_sample_is_executed():
    runs = []
    compiled = timing.compile_program(lambda x: io_callback(lambda v: runs.append(1) or v, x, x), (jnp.ones(3),))
    steps = []
    timer = timing.Timer(lambda: steps.append(1) or compiled(jnp.ones(3)), 0.01, calibrate=Calibrate())
    timer()
    assert len(runs) == len(steps) > timer.batch_steps


def test_known_work_scales_on_this_machine():
    def step_seconds(trips):
        x = jnp.full((64, 64), 1 / 64)
        compiled = timing.compile_program(
            lambda x, trips=trips: jax.lax.fori_loop(0, trips, lambda _, y: jnp.tanh(y @ x), x), (x,)
        )
        timer = timing.Timer(lambda: compiled(x), 0.01, calibrate=Calibrate())
        return min(timer().step_seconds for _ in range(3))

    assert step_seconds(3000) / step_seconds(300) > 4  # ten times the work; half lost to noise would still pass


def test_a_calibration_young_enough_is_not_made_again():
    machine = Machine()
    calibration = timing.Calibration(size=8, clock=machine)
    made = calibration()
    calibration.last_seconds = 7.0  # an answer that no run would give
    machine.time += 20 * MILLISECOND
    assert calibration(max_age=0.05) == 7.0
    machine.time += 40 * MILLISECOND
    assert calibration(max_age=0.05) == made
    calibration.last_seconds = 7.0
    assert calibration() == made


def test_the_sample_after_another_starts_from_the_calibration_that_ended_it():
    machine, asked = Machine(), []
    calibrate = Calibrate()
    calibrate_ = lambda max_age=0.0: asked.append(max_age) or calibrate()  # noqa: E731
    calibrate_.best_seconds = 1.0
    timing.Timer(lambda: machine.work(30 * MILLISECOND), 0.02, calibrate_, machine)()
    assert asked[0] > 0 and asked[1:] == [0.0]  # but never the one that began it


def test_calibration_knows_the_peak_of_this_machine():
    calibration = timing.Calibration(size=256)
    seconds = calibration()
    assert calibration.best_seconds <= seconds
    assert calibration.peak_flops == 2 * 256**3 / calibration.best_seconds
    assert 1e8 < calibration.peak_flops < 1e16
