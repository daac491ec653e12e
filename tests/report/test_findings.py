"""Findings say what was measured and what a rule makes of it; conditions say what holds."""

from transformer_jax.intervals import NOTHING, Estimate, verdict
from transformer_jax.report import Finding, Report, Rule, Table, Verdict, conditions, note, write


def test_a_rule_decides_only_what_was_measured():
    rule = Rule("always", lambda estimates: Verdict.SUPPORTED)
    assert Finding("?", "", {"a": Estimate(1, 0, 2, 3)}, rule).verdict == "SUPPORTED"
    assert Finding("?", "", {"a": NOTHING}, rule).verdict == Finding("?", "", {}, rule).verdict == "INCONCLUSIVE"
    assert Verdict.TASK_DEPENDENT == "TASK-DEPENDENT"


def test_without_a_rule_each_number_has_its_word_and_all_stand_in_one_line():
    found = {"a": Estimate(2, 1.5, 2.5, 5), "b": Estimate(0.5, 0.4, 0.6, 5), "c": Estimate(3, 2, 4, 5), "d": NOTHING}
    finding = Finding("How long?", "Times.", found, judge=verdict)
    assert finding.verdict == "slower, faster"
    assert finding.answer == (
        "Times. a: 2.00 [1.50, 2.50] slower; b: 0.500 [0.400, 0.600] faster; c: 3.00 [2.00, 4.00] slower;"
        " not measured, or too little: d slower, faster"
    )


def test_what_was_not_measured_stands_in_a_line_and_no_longer_run_would_measure_it(tmp_path):
    rule = Rule("never", lambda estimates: Verdict.INCONCLUSIVE)
    whole = Finding("?", "", {"a": Estimate(1, 0, 2, 3)}, rule)
    partial = Finding("?", "", {"2 pairs, gru": NOTHING, "a": Estimate(1, 0, 2, 3), "4 pairs, gru": NOTHING}, rule)
    assert partial.numbers == ["a: 1.00 [0.00, 2.00]"] and whole.missing == ""
    assert partial.missing == "not measured, or too little: 2 pairs, gru; 4 pairs, gru"
    assert whole.open and not partial.open and not Finding("?", "", {}, rule).open
    write(tmp_path, Report("q", [partial]), [], [])
    page = (tmp_path / "report.html").read_text()
    assert page.count(f"<div>{partial.missing}</div>") == 1 and "no estimate" not in page


def test_conditions_say_what_is_shared_how_many_failed_and_how_wide_intervals_are():
    rows = [
        {"key": str(t), "round": r, "status": "ok", "model.d_model": 64, "task.seq_len": t, "step_seconds": 1 + 0.1 * r,
         "compile_cached": t == 64} for t in (64, 128) for r in range(5)
    ]  # fmt: skip
    rows.append({"key": "x", "round": 0, "status": "oom", "model.d_model": 64, "task.seq_len": 256})
    counts, shared, width, cached = conditions(rows)
    assert counts == "Cells: 3, of which 2 ok, 1 oom." and shared == "All have model.d_model = 64."
    assert "±16%" in width and "No sample is discarded" in width
    assert cached.endswith("1 of 2 programs.")
    assert conditions([]) == ["No cell."]


def test_what_these_rows_do_not_give_is_not_in_the_report():
    answer, table = Finding("?", ""), Table("all", ("a",), ((1,),))
    report = Report("?", (answer, None), (None,), [None, table])
    assert report.answers == (answer,) and report.tables == (table,)


def test_a_note_names_each_once_and_none_nothing():
    assert note("It is so", ["b", "a", "b"]) == ["It is so: b, a."]
    assert note("It is so", iter(())) == []
