"""Every full size can be reported: invented rows of all planned cells give the questions of its rules numbers."""

import itertools

import pytest

from experiments.long_range.cells import FACTORS
from transformer_jax.config import flatten
from transformer_jax.lab import plan


def _long_range(config, attention):
    scores = {"mse": 0.005 if attention else 0.1} if config.task.name == "adding" else {"accuracy": 0.5 + attention / 2}
    for longer, lane in itertools.product(FACTORS[config.task.name], range(config.train.lanes)):
        yield scores | {"step": 20_000, "longer": longer, "lane": lane, "solved_step": 1000 if attention else None,
                        "rate": 1e-3, "rate_at_edge": False, "parameters": 1}  # fmt: skip


def _recall(config, attention):
    for step, lane in itertools.product((5000, 10_000), range(config.train.lanes)):
        yield {"step": step, "lane": lane, "accuracy": 0.99 if attention else 0.2, "accuracy_2_3": 0.5,
               "solved_step": 500 if attention else None, "rate": 1e-3, "rate_at_edge": False, "parameters": 1,
               "state_bytes": config.model.d_model * 100 + (config.model.recurrent_dim or 0)}  # fmt: skip


def _series(config, attention):
    for lane in range(config.train.lanes):
        yield {"step": 20_000, "lane": lane, "accuracy": 0.5 + attention / 4 + lane / 100, "rate_at_edge": False}


def _training_speed(config, attention):
    for lane in range(config.train.lanes):
        yield {"target": 2.0, "lane": lane, "steps": 500.0 + lane, "step_seconds": 0.1 + 0.1 * (not attention),
               "twin_step_seconds": 0.1, "compile_seconds": 1.0, "rate_at_edge": False, "device": "gpu", "loss": 2.0,
               "parameters": 1}  # fmt: skip


def _pareto(config, attention):
    width = config.model.d_model
    if config.measure.probe == "seconds":
        for sample, mixer in itertools.product(range(5), ("attention", "gru", "lstm", "min_gru")):
            yield {"timed": mixer, "sample": sample, "step_seconds": (0.9 + 0.001 * sample) * width}
    else:
        loss, kept = 0.3 + 0.1 * (not attention), width * (512 if attention else 1)
        for lane in range(config.train.lanes):
            yield {"lane": lane, "loss": loss + 0.001 * lane, "choosing_loss": loss, "rate_at_edge": False,
                   "parameters": width, "training_flops": width, "state_bytes": kept}  # fmt: skip


def _gradient_flow(config, attention):
    lanes, level = range(config.train.lanes), config.measure.level
    if level == "step":
        yield from ({"lane": lane, "place": place, "singular_value": 0.1 + place} for lane in lanes for place in (0, 1))
        return
    slope = 0.0 if attention else -0.2
    for step in (0, config.train.num_steps) if level == "trained" else (None,):
        for lane, lag in itertools.product(lanes, (1, 100)):
            own = {"lane": lane, "lag": lag, "relative_norm": 0.5} | ({} if step is None else {"step": step})
            ends = {"slope": slope + lane * 1e-5, "lost": float(not attention)}
            yield own | (ends if lag == 100 else {})


def _warm_up(config, attention):
    failed = config.model.norm == "post" and not config.train.warmup_steps
    for lane in range(config.train.lanes):
        yield {"step": 1600, "lane": lane, "loss": 2.0 if failed else 0.1 + lane / 100}


def _forgetting(config, attention):
    """Protecting keeps more, of queries and keys the most; four pairs leave it little to gain."""
    continual, crowded = config.continual, config.task.num_items == 4
    chosen = continual.part == "query_key" and not continual.control
    for lane, (seed, strength) in enumerate(zip(config.seeds, config.strengths, strict=True)):
        share = 1.0 if strength is None else min(strength, 100) / 100
        lost = (0.6 - 0.3 * share - 0.2 * share * chosen) * (1 + 0.01 * seed)
        average = 0.5 + (0.05 if crowded else 0.4) * share + 0.001 * seed
        yield {"lane": lane, "seed": seed, "strength": strength, "frozen": strength is None, "widened": 0,
               "worst_accuracy": 0.2, "drift": lost / 2 if attention else None, "importance": 1e-3, "protected": 10,
               "average_accuracy": average, "learning_accuracy": 0.9 - 0.01 * share, "forgetting": lost,
               "stability": 1 - lost, "backward_transfer": -lost, "forward_transfer": 0.0}  # fmt: skip


def _in_seconds(config, row):
    """Where seconds are matched: a step of a recurrence takes 16 of attention's."""
    if getattr(config.measure, "matching", None) != "seconds":
        return row
    ratio = {"step_seconds_ratio": 16.0, "step_seconds_ratio_low": 15.9, "step_seconds_ratio_high": 16.1}
    return row | ratio | {"step": row["step"] / 16, "trained_steps": config.train.num_steps / 16}


PLANTED = {"long_range": _long_range, "series": _series, "recall": _recall, "training_speed": _training_speed,
           "pareto": _pareto, "gradient_flow": _gradient_flow, "warm_up": _warm_up,
           "forgetting": _forgetting}  # fmt: skip


def rows_of(name):
    experiment, rows = plan.load(name, size="full"), []
    for cell in plan.plan(experiment.cells, studies=experiment.studies):
        known = flatten(cell.config) | {"status": "ok", "round": 0, "key": cell.identity, "studies": list(cell.studies)}
        found = PLANTED[name](cell.config, cell.config.model.mixer == "attention")
        rows += [known | _in_seconds(cell.config, row) for row in found]
    return rows


def test_every_experiment_with_a_full_size_is_here():
    assert set(PLANTED) == set(plan.with_full())


@pytest.mark.parametrize("name", PLANTED)
def test_the_full_size_is_reported_and_its_rules_decide(name):
    experiment = plan.load(name, size="full")
    report = experiment.report.report(rows_of(name))
    asked = [finding.question for finding in report.answers if "as many seconds" in finding.question]
    assert len(asked) == ("seconds" in experiment.studies and name != "pareto")
    judged = [finding for finding in report.answers if finding.rule]
    assert {id(finding.rule) for finding in judged} == {id(rule) for rule in experiment.report.RULES.values()}
    assert all(finding.estimates and all(one.n for one in finding.estimates.values()) for finding in judged)
    verdicts = {finding.verdict for finding in judged}
    assert verdicts == {"SUPPORTED", "INCONCLUSIVE"} if name == "pareto" else verdicts == {"SUPPORTED"}
    assert all(finding.estimates and all(one.n for one in finding.estimates.values()) for finding in report.answers)
