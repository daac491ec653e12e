"""What a page says of recurrences that trained for attention's seconds: steps of attention's, and what was timed."""

import pytest

from transformer_jax.lab.in_seconds import equal_budgets, how_timed, in_attentions_steps
from transformer_jax.report import Rule, all_below, mean

TIMED = {"trained_steps": 25, "step_seconds_ratio": 4.0, "step_seconds_ratio_low": 3.2, "step_seconds_ratio_high": 4.4,
         "train.lanes": 5}  # fmt: skip


def test_steps_of_a_recurrence_are_counted_in_attentions_that_take_as_long():
    rows = [{"step": 100, "solved_step": 20}, TIMED | {"step": 25, "solved_step": 10},
            TIMED | {"step": 25, "solved_step": None}, TIMED]  # fmt: skip
    found = in_attentions_steps(rows)
    assert [(row.get("step"), row.get("solved_step")) for row in found] == [
        (100, 20), (100, 40), (100, None), (None, None)
    ]  # fmt: skip
    assert rows[1]["step"] == 25 and found[1]["trained_steps"] == 25


@pytest.mark.parametrize(("low", "widest"), [(3.2, "±25%"), (3.8, "±10%"), (0.0, "±inf%")])
def test_what_was_timed_is_said_with_its_widest_interval(low, widest):
    assert how_timed([{"step": 100}]) == []
    slower = TIMED | {"step_seconds_ratio": 8.0, "step_seconds_ratio_low": 8.0, "step_seconds_ratio_high": 8.0}
    (text,) = how_timed([TIMED | {"step_seconds_ratio_low": low}, slower, {"step": 100}])
    assert "a step of 5 seeds at once" in text and "4 to 8 times as long" in text and f"{widest} at most" in text


def test_a_rule_is_asked_once_more_of_each_budget_that_has_rows():
    rule = Rule("SUPPORTED if below 1.", all_below(1.0))
    rows = [{"studies": [study], "status": "ok", "round": 0, "key": study, "step": value}
            for study, value in (("pairs", 3.0), ("flops", 0.5), ("seconds", 2.0))]  # fmt: skip

    def found(rows):
        return equal_budgets(rows, "steps", lambda study: {study: mean(rows, "step")}, rule)

    flops, seconds = found(rows)
    assert (
        "FLOPs" in flops.question and flops.text == "steps" and flops.rule is rule and [*flops.estimates] == ["flops"]
    )
    assert "seconds" in seconds.question and "in attention's that take as long" in seconds.text
    assert found(rows[:1]) == [] and [one.question for one in found(rows[:2])] == [flops.question]
    assert [one.question for one in found([rows[0], rows[1] | {"status": "nan"}])] == [
        flops.question
    ]  # a lane may be ok
