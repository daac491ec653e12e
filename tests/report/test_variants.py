"""Who is compared: a mixer, and in which form it was asked for."""

import pytest

from transformer_jax.report.variants import formed


@pytest.mark.parametrize(
    ("mixer", "attention", "recurrence", "name"),
    [
        ("attention", "auto", "associative", "attention"),
        ("attention", "blockwise", "auto", "attention (blockwise)"),
        ("min_gru", "reference", "associative", "min_gru (associative)"),
        ("lstm", "reference", "auto", "lstm"),
        ("lstm", "reference", None, "lstm"),
    ],
)
def test_a_form_is_of_what_the_mixer_reads(mixer, attention, recurrence, name):
    row = {"model.mixer": mixer, "model.attention": attention, "model.recurrence": recurrence}
    assert formed(row) == name
