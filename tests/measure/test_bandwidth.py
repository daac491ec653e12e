"""Bytes a second are those read and written by the fastest of several runs."""

from transformer_jax.measure import bandwidth


class Clock:
    """Each call of now() adds what is due next, in nanoseconds."""

    def __init__(self, *seconds):
        self.due, self.time = iter(seconds), 0

    def now(self):
        self.time += int(1e9 * next(self.due))
        return self.time


def test_the_fastest_run_counts_with_what_it_read_and_wrote():
    clock = Clock(0.5, 0.25, 7, 0.125, 9, 0.5)  # before and after each of three runs
    assert bandwidth.bytes_per_second(2**12, 3, clock) == 2 * 2**12 / 0.125


def test_a_real_clock_gives_a_rate():
    assert 1e6 < bandwidth.bytes_per_second(2**16, 2) < 1e14
