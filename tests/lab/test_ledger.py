"""The ledger: published figures beside ours, and a picture with a line for each claim."""

import re

import pytest

from tests.experiments import test_complexity
from tests.lab.test_claims import answers_of, folder_of
from transformer_jax.lab import claims, ledger
from transformer_jax.report.plots import render


def complexity(tmp_path):
    """The answers where `complexity` alone has been measured."""
    folder_of(tmp_path / "complexity", test_complexity.rows_of())
    return answers_of(tmp_path)


def test_published_figures_are_whole_and_stand_beside_the_claim_that_they_are_of(tmp_path):
    found = ledger.published()
    assert {entry.claim for entry in found} == set(claims.CLAIMS)
    for entry in found:
        assert type(entry.comparable) is bool
        assert all(isinstance(text, str) and text for name, text in entry._asdict().items() if name != "comparable")
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|\w+\.\w+/", entry.source)
    tables = ledger.ledger(complexity(tmp_path)).tables
    beside = {table.title.split(": ")[1].split(" (")[0]: table for table in tables if "beside" in table.title}
    assert sum(len(table.rows) for table in beside.values()) == len(found) and len(beside) == 8
    assert (
        "Ours: With the number of tokens T the time of attention that stores every score grows as T^2.00"
        in beside["complexity"].note
    )
    assert beside["long range"].note == "Ours: Not measured."
    lacking = tmp_path / "lacking.toml"
    lacking.write_text('[[figure]]\nclaim = "context"\nwhat = "recall"\n')
    with pytest.raises(TypeError, match="value"):
        ledger.published(lacking)


def test_the_picture_has_a_line_for_each_claim_with_its_verdict(tmp_path):
    found = complexity(tmp_path)
    svg, png = render(ledger.picture(found))
    assert svg.count("not measured") == 7 and svg.count("TASK-DEPENDENT") == 1 and png.startswith(b"\x89PNG")
    one = found["complexity"]
    said = claims.sentence(claims.CLAIMS["complexity"], one.numbers, one.headers, intervals=True)
    assert "Struggles to capture" in svg and re.search(r"score grows as T\^2\.00 \[[\d.]{4}, [\d.]{4}\]", said)
    assert set(said.split()) <= set(re.split(r"[\s<>]+", svg))


def test_what_makes_several_claims_doubtful_is_said_once(tmp_path):
    found = complexity(tmp_path)
    shared = {name: found[name]._replace(doubts=("An edge.",)) for name in ("context", "long_range")}
    notes = ledger.ledger(found | shared | {"complexity": found["complexity"]._replace(doubts=("Another.",))}).notes
    assert notes == ["context, long range: An edge.", "complexity: Another."]
