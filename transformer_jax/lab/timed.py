"""What an experiment needs whose cells time one compiled step each: its compilation, and its samples."""

from collections.abc import Callable, Hashable
from functools import cache
from typing import NamedTuple

from transformer_jax.config import Config
from transformer_jax.lab.sweep import Job
from transformer_jax.measure.work import Work


class Timed(NamedTuple):
    """Functions of an experiment's cells.py, under the names that they have there."""

    prepare: Callable[[Config], Callable[[], dict]]
    """Compiles the step; what it returns takes the first steps, for later, when nothing is compiled beside them."""
    cell: Callable[[Config, Job], dict]
    """One sample of the step, beside what is known of it without a clock."""


def steps(
    work: Callable[[Config], Work],
    group: Callable[[Config], Hashable] = lambda config: None,
    on_one_core: Callable[[Config], bool] = lambda config: False,
) -> Timed:
    """The functions for cells whose step is `work(config)`.

    Args:
      work: called by workers alone, so that it may import what needs jax.
      group: the experiment's own, of cells that are compared with each other; the machine is described once for each
        and pass.
      on_one_core: whether a cell is timed with all threads on one core, as `measure.cost.OneCore` does.
    """

    @cache
    def sampler(config: Config):
        from transformer_jax.measure import cost  # here, as jax takes seconds to load and a plan has no need of it

        kind = cost.OneCore if on_one_core(config) else cost.Sampler
        return kind(work(config), config.measure.min_sample_seconds)

    def prepare(config: Config) -> Callable[[], dict]:
        return sampler(config).settle

    def cell(config: Config, job: Job) -> dict:
        return sampler(config)((job.round, group(config)))

    return Timed(prepare, cell)
