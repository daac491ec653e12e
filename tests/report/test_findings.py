"""Rules decide, digests change with what decides and with nothing else, conditions say what holds."""

import importlib.util
import sys

import pytest

from transformer_jax.intervals import NOTHING, Estimate, verdict
from transformer_jax.report import Finding, Rule, Verdict, conditions, digest

SOURCE = '''
"""A report."""
from transformer_jax.report import Rule, Verdict

LEAST = 0.5
OTHER = 1

def above(estimate):
    """Whether it is above."""
    return estimate.low > LEAST  # the whole interval

def decide(estimates):
    """Decides."""
    return Verdict.SUPPORTED if all(above(e) for e in estimates.values()) else Verdict.REFUTED

RULE = Rule("SUPPORTED if all lie above 0.5", decide)
'''


def loaded(folder, source):
    path = folder / f"report_{abs(hash(source))}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("old", "changed", "same"),
    [
        ("# the whole interval", "# another comment", True),
        ('"""Decides."""', '"""Another docstring."""', True),
        ('"""Whether it is above."""', "", True),
        ("OTHER = 1", "OTHER = 2\n\n\ndef unused():\n    pass", True),
        ("LEAST = 0.5", "LEAST = 0.6", False),
        ("estimate.low", "estimate.value", False),
        ("all(above", "any(above", False),
        ("lie above 0.5", "lie above one half", False),
    ],
)
def test_a_digest_changes_with_text_function_and_what_it_uses(tmp_path, old, changed, same):
    assert old in SOURCE
    before, after = (digest(loaded(tmp_path, source).RULE) for source in (SOURCE, SOURCE.replace(old, changed)))
    assert (before == after) == same


FACTORY = """
from functools import partial
from transformer_jax.report import Rule, Verdict
import {module} as kept

def above(limit):
    def decide(estimates):
        return Verdict.SUPPORTED if kept.passes(estimates, limit) else Verdict.REFUTED
    return decide

def at_least(estimates, limit):
    return Verdict.SUPPORTED

RULE = {rule}
"""
HELPER = "SHARE = 0.8\ndef passes(estimates, limit):\n    return len(estimates) * SHARE > limit\n"


@pytest.mark.parametrize("rule", ["Rule('t', above({limit}))", "Rule('t', partial(at_least, limit={limit}))"])
def test_a_digest_changes_with_what_a_factory_or_a_partial_is_given(tmp_path, monkeypatch, rule):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "kept_helper.py").write_text(HELPER)

    def digest_of(limit):
        source = FACTORY.format(module="kept_helper", rule=rule.format(limit=limit))
        return digest(loaded(tmp_path, source).RULE)

    assert digest_of(0.8) == digest_of(0.8) != digest_of(0.9)


IMPORTING = FACTORY.replace("import {module} as kept", "from {module} import passes").replace("kept.passes", "passes")


@pytest.mark.parametrize(
    ("edited", "same"), [(("0.8", "0.7"), False), (("> limit", ">= limit"), False), (("\n", "  # why\n"), True)]
)
def test_a_digest_changes_with_a_function_of_another_file(tmp_path, monkeypatch, edited, same):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name, text in (("one", HELPER), ("two", HELPER.replace(*edited))):
        (tmp_path / f"kept_{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"kept_{name}", raising=False)
        source = IMPORTING.format(module=f"kept_{name}", rule="Rule('t', above(0.8))")
        found.append(digest(loaded(tmp_path, source).RULE))
    assert (found[0] == found[1]) == same


def test_what_decides_is_a_function():
    with pytest.raises(TypeError, match="a rule decides by a function"):
        digest(Rule("t", Verdict))


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
        " d: no estimate slower, faster"
    )


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
