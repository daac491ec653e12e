"""A plan before it runs: tables that fit a terminal and lose nothing."""

import io

import pytest
from rich.console import Console

from transformer_jax.config import Config
from transformer_jax.lab import plan, plan_display
from transformer_jax.lab.plan import Cell


def cell(studies=(), **overrides):
    return Cell({f"model.{name}": value for name, value in overrides.items()}, Config(), str(overrides), studies)


def shown(cells, predictions, width):
    console = Console(file=io.StringIO(), width=width)
    for part in plan_display.tables(cells, predictions, width):
        console.print(part)
    return console.file.getvalue().splitlines()


def test_the_table_has_axes_and_predictions():
    cells = [cell(mixer="lstm"), cell(mixer="attention", num_heads=4)]
    lines = shown(cells, [{"flops": 1.5e9, "seconds": 0.25}, {"flops": 2e12, "seconds": 10, "": "measured"}], 90)
    assert [line.split() for line in lines] == [
        ["mixer", "num_heads", "flops", "seconds"],
        ["lstm", "1.5e+09", "0.25"],
        ["attention", "4", "2e+12", "10", "measured"],
    ]


def test_what_all_cells_share_stands_once_above_them():
    lines = shown([cell(d_model=64, mixer="gru"), cell(d_model=64, mixer="lstm")], None, 90)
    assert [line.split() for line in lines] == [["all", "cells:", "d_model=64"], ["mixer"], ["gru"], ["lstm"]]


def test_where_one_table_is_too_wide_each_study_has_its_own():
    cells = [cell(("heads",), num_heads=n, position="learned") for n in (1, 2)]
    cells += [cell(("depth", "heads"), num_layers=n, encoder_layers=1) for n in (3, 4)]
    lines = shown(cells, None, 30)
    assert lines[0] == "heads, 2 cells:" or lines[0].startswith("heads, 2 cells: position=learned")
    assert "depth, 2 cells:" in " ".join(lines) and [line.strip() for line in lines if line.strip().isdigit()] == [
        *"1234"
    ]
    assert len(shown(cells, None, 90)) == 1 + 4


def test_keys_that_some_cells_of_a_study_lack_part_it():
    cells = [cell(("sizes",), num_layers=n, mixer="attention", num_heads=n, attention="reference") for n in (1, 2)]
    cells += [cell(("sizes",), num_layers=n, mixer="lstm", recurrent_dim=9, recurrence="sequential") for n in (1, 2)]
    lines = shown(cells, None, 45)
    assert sum(line.startswith("sizes, 2 cells:") for line in lines) == 2


def test_what_fits_no_table_has_lines_of_its_own_that_break_at_commas():
    texts = tuple(f"a_rather_long_name_{n}" for n in range(4))
    lines = shown(
        [cell(texts=texts, d_model=7), cell(texts=texts[:3], d_model=8)], [{"flops": 3.0, "": "gone"}] * 2, 40
    )
    assert max(map(len, lines)) <= 40 and all(name in " ".join(lines) for name in texts)
    assert sum(line.startswith("- ") for line in lines) == 2 and " ".join(lines).count("flops=3 gone") == 2


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    ("name", "size"), [(n, "quick") for n in plan.names()] + [(n, "full") for n in plan.with_full()]
)
def test_every_plan_fits_and_shows_every_value(name, size, width):
    experiment = plan.load(name, size=size)
    cells = plan.plan(experiment.cells, studies=experiment.studies)
    foretold = [{"flops": 1.23e10, "bytes": 1.23e10, "seconds": 0.000123, "": "3 rounds there"}] * len(cells)
    lines = shown(cells, foretold, width)
    assert max(len(line.rstrip()) for line in lines) <= width
    text = " ".join(" ".join(lines).split())
    for one in cells:
        for key, value in one.overrides.items():
            assert key.rsplit(".", 1)[-1] in text
            assert plan_display.short(value) in text
    assert " ".join(lines).count("3 rounds") == len(cells)
