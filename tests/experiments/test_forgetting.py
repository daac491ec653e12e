"""The experiment on forgetting: a planted truth in its report, and what its cells are."""

from types import SimpleNamespace

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
                   "drift": 0.4 * (1 - place) + 0.1 - 2 * easier * place + noise, "protected": 10,
                   "widened": 0}  # fmt: skip
            if cell.config.model.mixer != "attention":
                row["drift"] = None
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
    assert "split (class): strength" in text and "times the mean Fisher" in " ".join(report.notes)
    amount, strengths = report.answers[1], [0.0, *FORGETTING.cells.GRID["ewc"]]
    assert amount.question == "How much to protect, as strength times the mean Fisher?"
    assert all(one.low == one.value == one.high for one in amount.estimates.values())  # of all seeds there is one
    chosen = float(report.answers[0].text.partition("split (class): strength ")[2].partition(";")[0])
    assert amount.estimates["split (class), times the mean Fisher"].value == pytest.approx(0.002 * chosen)
    (at,) = (i for i, strength in enumerate(strengths) if strength == pytest.approx(chosen))
    around = f"{0.002 * strengths[at - 1]:.3g} to {0.002 * strengths[at + 1]:.3g}"
    assert f"split (class): {around}" in amount.text  # no closer was it looked for
    assert all(report.figures) and all(table.rows for table in report.tables)


def test_what_is_frozen_has_no_strength_in_units_of_the_fisher():
    found = rows(lambda row: row | {"stability": 1.0, "learning_accuracy": 0.9} if row["frozen"] else row)
    answers = FORGETTING.report.report(found).answers
    assert "split (class): frozen" in answers[0].text
    assert answers[1].estimates["split (class), times the mean Fisher"].n == 0
    assert "split (class): all frozen" in answers[1].text


def test_wider_strengths_answer_how_much_and_decide_no_hypothesis():
    found, extra = rows(), []
    for row in found:
        if row["continual.control"] and row["strength"] and row["continual.stream"] == "split":
            extra.append(row | {"strength": 1e7 * row["strength"], "widened": 1, "drift": 0.0, "stability": 1.0})
    assert verdicts(found + extra) == verdicts(found)
    top = {"strength": 1e9, "widened": 1, "stability": 1.0, "learning_accuracy": 0.95}
    best = [
        row | top
        for row in found
        if row["continual.part"] == "all" and row["continual.method"] == "ewc" and row["strength"] == 1
    ]
    strength, amount, *_ = FORGETTING.report.report(found + best).answers
    assert "split (class): strength 1e+09" in strength.answer and "split (class): above 2e+03" in amount.answer


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


def full():
    cells = FORGETTING.cells
    return plan.plan(SimpleNamespace(**vars(cells) | {"STUDIES": cells.FULL}))


def test_the_full_cells():
    planned = full()
    of_study = {name: [c.config for c in planned if name in c.studies] for name in FORGETTING.cells.FULL}
    assert all(of_study.values())
    methods = of_study["methods"]
    assert {c.continual.method for c in methods} == {"ewc", "si", "mas", "lwf", "replay"}
    assert {c.continual.variant for c in methods} >= {"online", "corrected"}
    assert {c.continual.part for c in methods} >= {"mixer", "value_out", "mlp", "embeddings", "head"}
    assert {c.continual.buffer for c in methods if c.continual.method == "replay"} == {50, 200, 1000}
    assert {c.model.mixer for c in of_study["recurrent"]} == {"gru", "lstm"}
    assert {c.continual.texts for c in of_study["letters"]} == {("number_words_fr",)}
    assert {c.task.name for name in ("permuted", "split") for c in of_study[name]} == {"mnist"}


def test_its_cells():
    planned = plan.plan(FORGETTING.cells)
    assert {study for cell in planned for study in cell.studies} == {
        "permuted", "split", "recall", "memory", "recurrent"}  # fmt: skip
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
    with pytest.raises(ConfigError, match="runs on digits, associative_recall, mnist, number_words alone"):
        plan.plan(FORGETTING.cells, {"task.name": "parity"})
