"""The experiment on the longest sequence: a search is rows, and the report's rule decides from its brackets."""

import importlib.util
from pathlib import Path

import pytest

from experiments.longest import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job
from transformer_jax.measure import longest
from transformer_jax.measure.longest import Try
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "longest" / "report.py"
spec = importlib.util.spec_from_file_location("longest_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

LIMITS = {"reference": 3000, "xla": 5000, "blockwise": 40_000, "auto": 40_000, "lstm": 900, "min_gru": 70_000}
LIMITS |= {"rnn": 20_000, "gru": 9000}


@pytest.fixture
def planted(monkeypatch):
    """planted(limits) -> the rows of all cells on a machine with these longest lengths; the LSTM runs out of time."""
    asked = []

    def make(limits):
        def attempt(config, limit_bytes, limit_seconds):
            T, name = config.task.seq_len, page._reader(flatten(config))
            asked.append((limit_bytes, limit_seconds))
            if T > limits[name]:
                return Try(T, "time" if name == "lstm" else "memory")
            return Try(T, "ok", 1.0, T * 1e-4, T * 10_000)

        monkeypatch.setattr(longest, "attempt", attempt)
        rows = []
        for override in cells.STUDIES["longest"]:
            config = with_overrides(cells.BASE, override | {"measure.memory_gib": 1.5})
            found = cells.cell(config, Job(0, Path("unused"), 0))
            shared = flatten(config) | {"status": "ok", "round": 0, "studies": ("longest",), "header": "h"}
            rows += [shared | {"key": str(override), "part": part} | row for part, row in enumerate(found)]
        assert set(asked) == {(3 * 2**29, 60.0)}
        return rows

    return make


def test_a_search_is_rows_that_say_what_stopped_it(planted):
    rows = planted(LIMITS)
    assert [row["tried_len"] for row in rows if row["model.attention"] == "reference"][:3] == [1024, 2048, 4096]
    for name, limit in LIMITS.items():
        mine = [row for row in rows if page._reader(row) == name]
        assert {row["limited_by"] for row in mine} == {"time" if name == "lstm" else "memory"}
        assert len({(row["longest_len"], row["too_long"]) for row in mine}) == 1
        assert (mine[0]["longest_len"] or 0) <= limit < mine[0]["too_long"]
        assert [row["order"] for row in mine] == list(range(len(mine)))


def test_the_rule_decides_from_the_brackets(planted):
    def verdict(**limits):
        return page.report(planted(LIMITS | limits)).answers[1].verdict

    assert verdict() == "SUPPORTED"
    assert verdict(reference=40_000, blockwise=3000) == "REFUTED"
    assert verdict(blockwise=3000) == "INCONCLUSIVE"
    assert page.report([]).answers[1].verdict == "INCONCLUSIVE"
    assert page.report([row for row in planted(LIMITS) if page._reader(row) != "xla"]).answers[1].verdict == "SUPPORTED"


def test_the_page_says_what_was_the_limit(planted, tmp_path):
    rows = planted(LIMITS)
    write(tmp_path, page.report(rows), [{"id": "h"}], rows)
    text = (tmp_path / "report.html").read_text()
    assert "lstm by time" in text and "blockwise by memory" in text
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"memory_by_length", "seconds_by_length"}


@pytest.mark.parametrize(("key", "value"), [("memory_gib", 0.0), ("try_seconds", -1.0), ("halvings", -1)])
def test_limits_that_cannot_be_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"measure.{key}"):
        plan.plan(cells, {f"measure.{key}": value})
