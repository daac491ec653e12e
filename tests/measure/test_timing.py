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

    def timer(self, nanoseconds, min_sample_seconds=0.02):
        return timing.Timer(lambda: self.work(nanoseconds), min_sample_seconds, clock=self)


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
    assert sample == timing.Sample(pytest.approx(3e-3), pytest.approx(6e-3), sample.inner_steps)


def test_a_burst_in_one_batch_does_not_count():
    machine = Machine()
    timer = machine.timer(10 * MILLISECOND, min_sample_seconds=0.04)
    machine.factors[(machine.steps + 1) % 4096] = 7.0  # one batch in the sample
    assert timer().step_seconds == pytest.approx(0.01)


def test_step_longer_than_a_sample_runs_once():
    assert Machine().timer(50 * MILLISECOND)().inner_steps == 1


def test_nanosecond_steps_reach_a_sample_too():
    sample = Machine().timer(40, min_sample_seconds=1e-3)()
    assert sample.inner_steps * 40 >= 1e6
    assert sample.step_seconds == pytest.approx(40e-9)


def test_clock_that_stands_still_is_an_error():
    with pytest.raises(RuntimeError, match="stands still"):
        timing.Timer(lambda: None, 1.0, clock=Machine())


@pytest.mark.parametrize("factor", [9.0, 40.0])
@pytest.mark.parametrize("first", range(8))
def test_a_burst_does_not_fix_the_size_of_a_batch(first, factor):
    """Twins got 1 against 9 steps a batch, when foreign work made a trial long enough: a lasting difference of 17 %."""
    quiet, busy = Machine(), Machine()
    busy.factors[first] = factor  # a step of 1 ms takes 9 or 40 ms once, in one trial or another
    steps = [machine.timer(MILLISECOND, min_sample_seconds=0.06).batch_steps for machine in (quiet, busy)]
    assert steps[0] >= 20 and steps[1] == pytest.approx(steps[0], rel=0.25)


@pytest.mark.parametrize("seed", range(20))
def test_twins_under_load_get_batches_of_one_size(seed):
    """A third of all steps lasts ten times as long."""
    rng = np.random.default_rng(seed)
    sizes = []
    for _ in "AA":
        machine = Machine()
        machine.factors = np.where(rng.random(4096) < 1 / 3, 10.0, 1.0).tolist()
        sizes.append(machine.timer(MILLISECOND, min_sample_seconds=0.06).batch_steps)
    # a batch of which a third is slow takes 4 ms a step: five of them are the 20 ms of a batch
    assert min(sizes) >= 4


def test_few_trials_are_made_of_long_steps():
    machine = Machine()
    machine.timer(700 * MILLISECOND)
    assert machine.steps == 2
    assert machine.timer(150 * MILLISECOND).batch_steps == 1 and machine.steps == 2 + 4


def test_no_sample_is_taken_again_however_slow_the_machine_has_become():
    machine = Machine()
    timer = machine.timer(30 * MILLISECOND)
    machine.factors = [7.0] * 4096
    before = machine.steps
    assert timer().step_seconds == pytest.approx(0.21) and machine.steps == before + 1


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
    timer = timing.Timer(lambda: steps.append(1) or compiled(jnp.ones(3)), 0.01)
    timer()
    assert len(runs) == len(steps) > timer.batch_steps


def test_known_work_scales_on_this_machine():
    def step_seconds(trips):
        x = jnp.full((64, 64), 1 / 64)
        compiled = timing.compile_program(
            lambda x, trips=trips: jax.lax.fori_loop(0, trips, lambda _, y: jnp.tanh(y @ x), x), (x,)
        )
        timer = timing.Timer(lambda: compiled(x), 0.01)
        return min(timer().step_seconds for _ in range(3))

    assert step_seconds(3000) / step_seconds(300) > 4  # ten times the work; half lost to noise would still pass


def test_the_matmul_is_timed_once_a_place():
    calibration = timing.Calibration(size=8)
    runs = []
    calibration._run = lambda: runs.append(1) or float(len(runs))
    seconds = [
        calibration.at(place) for place in [(0, "op"), (0, "op"), (0, "model"), (1, "model"), (1, "model"), (0, "op")]
    ]
    assert seconds == [1.0, 1.0, 2.0, 3.0, 3.0, 4.0]
    columns = calibration.columns((0, "op"))
    assert columns == {"calibration_seconds": 4.0, "matmul_peak_flops": calibration.peak_flops}


def test_calibration_knows_the_peak_of_this_machine():
    calibration = timing.Calibration(size=256)
    seconds = calibration.at("here")
    assert calibration.best_seconds <= seconds
    assert calibration.peak_flops == 2 * 256**3 / calibration.best_seconds
    assert 1e8 < calibration.peak_flops < 1e16
