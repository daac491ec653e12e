"""The experiment on forgetting: a planted truth in its report, and what its cells are."""

import pytest

from transformer_jax.config import ConfigError, flatten
from transformer_jax.lab import plan

FORGETTING = plan.load("forgetting")


def rows(change=lambda row: row, seeds=5):
    """Of every planned cell a row for each lane: strength takes plasticity, keeps what was learned and holds maps
    still; on queries and keys more than on a random subset."""
    found = []
    for number, cell in enumerate(plan.plan(FORGETTING.cells)):
        flat, continual = flatten(cell.config), cell.config.continual
        easier = {"all": 0.0, "query_key": 0.02}[continual.part] - 0.02 * continual.control
        harder = 0.02 * (cell.config.task.num_items == 4) + 0.001 * (cell.config.task.seq_len == 16)
        for lane, (strength, seed) in enumerate(zip(cell.config.strengths, cell.config.seeds, strict=True)):
            place = 1.0 if strength is None else continual.lanes.index(strength) / 10
            noise = seed / 1000
            forgetting = 0.5 * (1 - place) - easier * place + noise
            learning = 0.9 - 0.4 * place**3
            row = {"lane": lane, "seed": seed, "strength": strength, "frozen": strength is None, "importance": 0.002,
                   "learning_accuracy": learning, "forgetting": forgetting, "stability": 1 - forgetting,
                   "average_accuracy": learning - (0.6 + harder) * forgetting + harder * place * (1 + seed / 50),
                   "backward_transfer": -forgetting, "forward_transfer": 0.0, "worst_accuracy": 0.3,
                   "drift": 0.4 * (1 - place) + 0.1 - 2 * easier * place + noise, "protected": 10}  # fmt: skip
            whole = flat | row | {"studies": cell.studies, "status": "ok", "round": 0, "key": str(number)}
            if seed < seeds:
                found.append(change(whole))
    return found


def verdicts(found):
    return {finding.question[:2]: finding.verdict for finding in FORGETTING.report.report(found).answers}


def test_a_planted_truth_is_found():
    found = verdicts(rows())
    assert found["H1"] == found["H2"] == found["H3"] == "SUPPORTED"
    report = FORGETTING.report.report(rows())
    text = report.answers[0].answer
    assert "split (class): strength" in text and "times the mean Fisher" in text
    assert all(report.figures) and all(table.rows for table in report.tables)


def test_and_its_opposite():
    def turned(row):
        control = {"query_key": not row["continual.control"]}.get(row["continual.part"], row["continual.control"])
        return row | {"continual.control": control}

    found = verdicts(rows(turned))
    assert found["H1"] == found["H3"] == "REFUTED"


@pytest.mark.parametrize("seeds", [1, 4])
def test_few_seeds_decide_nothing(seeds):
    found = verdicts(rows(seeds=seeds))
    assert {found[name] for name in ("H1", "H2", "H3", "H4")} == {"INCONCLUSIVE"}


def test_a_part_of_the_streams_decides_nothing():
    found = verdicts([row for row in rows() if row["continual.stream"] == "permuted"])
    assert {found[name] for name in ("H1", "H2", "H3", "H4")} == {"INCONCLUSIVE"}
    assert verdicts([]) and verdicts([{**row, "status": "failed", "learning_accuracy": None} for row in rows()[:60]])


@pytest.mark.parametrize(
    ("pairs", "length", "verdict"),
    [(0.1, 0.0, "SUPPORTED"), (-0.1, 0.0, "REFUTED"), (0.05, 0.1, "REFUTED"), (0.0, 0.0, "INCONCLUSIVE")],
)
def test_h4(pairs, length, verdict):
    def change(row):
        less = pairs * (row["task.num_items"] == 4) + length * (row["task.seq_len"] == 16)
        gain = 0.0 if row["strength"] == 0 else 0.3 - less + 0.001 * (row["seed"] % 2) * (1 - 2 * (less > 0))
        return row | {"average_accuracy": 0.3 + gain}

    assert verdicts(rows(change))["H4"] == verdict


def test_its_cells():
    planned = plan.plan(FORGETTING.cells)
    assert {study for cell in planned for study in cell.studies} == {"permuted", "split", "recall", "memory"}
    for cell in planned:
        continual = cell.config.continual
        assert len(set(cell.config.seeds)) == 5
        if continual.method in ("ewc", "l2"):
            above = [s for s in continual.lanes if s]
            assert len(above) == 9 and 0.0 in continual.lanes and None in continual.lanes
            steps = {round(b / a, 1) for a, b in zip(above, above[1:], strict=False)}
            assert max(steps) - min(steps) < 0.2
    assert {(c.config.task.num_items, c.config.task.seq_len) for c in planned if "memory" in c.studies} == {
        (2, 8), (2, 16), (4, 16)}  # fmt: skip
    with pytest.raises(ConfigError, match="this experiment trains on digits or associative_recall"):
        plan.plan(FORGETTING.cells, {"task.name": "parity"})
