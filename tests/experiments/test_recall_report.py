"""The report on recall decides by its rule from planted curves, one a seed."""

import importlib.util
from pathlib import Path

from transformer_jax.report import digest, write

PATH = Path(__file__).parents[2] / "experiments" / "recall" / "report.py"
spec = importlib.util.spec_from_file_location("recall_report", PATH)
recall = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recall)


def planted(attention, lstm, gru=None, seeds=5):
    """By pairs the step at which a model's seeds answer 99 %, one for all or one each; None: they guess to the end.

    A GRU's are the LSTM's, unless they are given.
    """
    found = []
    for mixer, solved in (("attention", attention), ("lstm", lstm), ("gru", gru or lstm)):
        for n in (2, 4, 8):
            for part, (lane, step) in enumerate((lane, step) for lane in range(seeds) for step in range(50, 601, 50)):
                first = solved(n)[lane] if isinstance(solved(n), tuple) else solved(n)
                accuracy = 0.995 if first and step >= first else 1 / n + lane / 1000
                found.append({"status": "ok", "round": 0, "part": part, "key": f"{mixer}{n}", "studies": ("pairs",),
                              "model.mixer": mixer, "task.num_items": n, "lane": lane, "step": step,
                              "solved_step": first, "accuracy": accuracy, "accuracy_2_3": accuracy,
                              "accuracy_16_31": accuracy / 2})  # fmt: skip
    return found


def soon(n):
    return 200


def never(n):
    return None


def verdict(rows):
    return recall.report(rows).answers[0].verdict


def test_who_wins_learns_it_in_half_of_the_steps_and_the_other_in_none():
    assert verdict(planted(soon, never)) == "SUPPORTED"
    assert verdict(planted(never, soon)) == verdict(planted(never, never, gru=soon)) == "REFUTED"
    assert verdict(planted(lambda n: 300, never)) == "SUPPORTED"
    assert verdict(planted(lambda n: 350, never)) == "INCONCLUSIVE"  # too late: the other may lack steps
    assert verdict(planted(soon, lambda n: 550)) == verdict(planted(soon, never, gru=lambda n: 600)) == "INCONCLUSIVE"
    assert verdict(planted(never, never)) == "INCONCLUSIVE"  # nobody recalls, however they guess
    assert verdict(planted(lambda n: 200 if n < 8 else None, lambda n: 200 if n == 8 else None)) == "TASK-DEPENDENT"
    assert verdict(planted(lambda n: 200 if n < 8 else None, never)) == "INCONCLUSIVE"


def test_four_of_five_seeds_are_enough_and_four_seeds_are_not():
    assert verdict(planted(lambda n: (200, 100, None, 300, 250), never)) == "SUPPORTED"
    assert verdict(planted(lambda n: (200, 100, None, None, 250), never)) == "INCONCLUSIVE"
    assert verdict(planted(soon, lambda n: (None, 600, 600, 600, None))) == "SUPPORTED"
    assert verdict(planted(soon, never, seeds=4)) == verdict([]) == "INCONCLUSIVE"
    lacking = [row for row in planted(soon, never) if (row["model.mixer"], row["task.num_items"]) != ("gru", 4)]
    assert verdict(lacking) == "INCONCLUSIVE"


def test_the_numbers_are_steps_and_shares():
    finding, shares = recall.report(planted(soon, never)).answers
    assert list(finding.estimates) == [f"{n} pairs, {who}" for n in (2, 4, 8) for who in ("attention", "gru", "lstm")]
    assert finding.estimates["2 pairs, attention"][:3] == (200, 200, 200)
    assert "4 pairs, gru: above 600" in finding.numbers
    assert {mixer: round(share.value, 3) for mixer, share in shares.estimates.items()} == {
        "8 pairs: attention": 0.995, "8 pairs: gru": 0.127, "8 pairs: lstm": 0.127
    }  # fmt: skip


def test_other_pairs_than_the_rules_have_their_shares():
    rows = [row | {"task.num_items": 1} for row in planted(soon, never) if row["task.num_items"] == 2]
    finding, shares = recall.report([row for row in rows if row["model.mixer"] != "lstm"]).answers
    assert finding.numbers == [] and "; 2 pairs, gru; " in finding.missing and not finding.open
    assert shares.question == "How much does each recall of 1 pair in the end?"
    assert shares.numbers[0].startswith("1 pair: attention: 0.995") and shares.missing.endswith(": 1 pair: lstm")
    two = [row for row in planted(soon, never) if row["task.num_items"] < 8]
    assert list(recall.report(two).answers[1].estimates)[0] == "4 pairs: attention"


def test_what_the_full_size_has_more_stands_behind_and_flops_have_the_rule_too():
    rows = planted(soon, never)
    flops = [row | {"studies": ("flops",), "key": f"f{row['key']}"} for row in planted(never, soon)]
    state = [row | {"studies": ("state",), "state_bytes": 512 * (1 + (row["model.mixer"] == "lstm"))}
             for row in rows if row["task.num_items"] == 8]  # fmt: skip
    report = recall.report(rows + flops + state)
    assert [finding.verdict for finding in report.answers] == ["SUPPORTED", "", "REFUTED"]
    assert [figure.name for figure in report.figures if figure][3:] == ["accuracy_by_state"]


def in_seconds(attention, recurrence):
    """A recurrence trains 120 steps in the seconds of attention's 600, as nearly as its evaluations allow."""
    found = []
    for row in planted(attention, recurrence):
        row = row | {"studies": ("seconds",), "key": f"s{row['key']}", "train.num_steps": 600}
        if row["model.mixer"] != "attention":
            fewer = {"step": row["step"] // 5, "solved_step": row["solved_step"] and row["solved_step"] // 5}
            row |= fewer | {"trained_steps": 120, "step_seconds_ratio": 5.1}
            row |= {"step_seconds_ratio_low": 5.0, "step_seconds_ratio_high": 5.61, "train.lanes": 5}
        found.append(row)
    return found


def test_steps_that_take_longer_are_judged_by_the_seconds_that_both_had():
    sooner = recall.report(planted(soon, never) + in_seconds(lambda n: 300, never))
    assert sooner.answers[2].question == "And those with as many seconds of training?"
    assert sooner.answers[2].verdict == "SUPPORTED"  # of steps alone 300 are more than half of 120
    assert "4 pairs, gru: above 612" in sooner.answers[2].numbers
    reverse = recall.report(planted(soon, never) + in_seconds(never, lambda n: 150)).answers[2]
    assert reverse.verdict == "REFUTED" and reverse.estimates["2 pairs, lstm"].value == 30 * 5.1
    assert recall.report(in_seconds(lambda n: 350, never)).answers[2].verdict == "INCONCLUSIVE"
    assert sooner.tables[-1].columns == ("num_items", "gru", "lstm") and sooner.tables[-1].rows[0][1].value == 120


def test_pairs_that_are_counted_in_seconds_by_an_option_are_judged_so_too():
    rows = [row | {"studies": ("pairs",)} for row in in_seconds(lambda n: 300, never)]
    assert verdict(rows) == "SUPPORTED" and len(recall.report(rows).answers) == 2


def test_recurrences_whose_steps_are_not_alike_are_all_there():
    """Their last evaluations lie at different steps, and at different steps of attention."""
    rows = in_seconds(lambda n: 300, never)
    for row in rows:
        if row["model.mixer"] == "gru" and row["task.num_items"] == 4:
            row |= {"step": row["step"] / 2, "trained_steps": 60, "step_seconds_ratio": 10.5}
    answer = recall.report(planted(soon, never) + rows).answers[2]
    assert answer.verdict == "SUPPORTED" and "4 pairs, gru: above 630" in answer.numbers
    assert {one.n for one in answer.estimates.values()} == {5}


def test_what_is_shown_in_steps_was_counted_in_steps():
    rows = [row | {"studies": ("pairs",)} for row in in_seconds(lambda n: 300, lambda n: 150)]
    report = recall.report(rows)
    steps = next(one for one in report.tables if one and one.title.startswith("Steps until 99 %"))
    assert {(row[1], estimate.value) for row in steps.rows for estimate in row[2:]} == {
        ("attention", 300), ("gru", 30), ("lstm", 30)
    }  # fmt: skip
    assert report.answers[0].estimates["2 pairs, gru"].value == 30 * 5.1


def test_the_page_says_what_was_timed_where_something_was():
    rows = planted(soon, never)
    limits = recall.report(rows + in_seconds(lambda n: 300, never)).limits
    (text,) = (limit for limit in limits if "seconds" in limit)
    assert "a step of 5 seeds at once" in text and "5.1 to 5.1 times" in text and "±10% at most" in text
    assert not any("seconds" in limit for limit in recall.report(rows).limits)


def test_the_page_has_its_figures_and_knows_the_rule(tmp_path):
    rows = planted(soon, never)
    rules = {name: digest(rule) for name, rule in recall.RULES.items()}
    write(tmp_path, recall.report(rows), [{"id": "h", "rules": rules}], [row | {"header": "h"} for row in rows])
    page = (tmp_path / "report.html").read_text()
    assert "SUPPORTED" in page and "was changed" not in page
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "accuracy_by_pairs", "accuracy_by_step", "accuracy_by_distance"
    }  # fmt: skip
