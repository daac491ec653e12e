"""What a page says of recurrences that trained for attention's seconds: steps of attention's, and what was timed."""

import pytest

from transformer_jax.lab.in_seconds import how_timed, in_attentions_steps

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
