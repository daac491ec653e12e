"""Rules decide as their words say; digests change with what decides and with nothing else."""

import importlib.util
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.report import Rule, Verdict, all_above, all_below, digest, only_recurrences, rules
from transformer_jax.report.rules import of_at_least, sooner

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


READING = """
from transformer_jax.report import Rule, Verdict, all_above, mean

LEAST, MOST = 1, 2

def share(rows):
    return mean(rows, "right", "lane") if LEAST < len(rows) < MOST else None

def estimates(rows):
    return {"all": share(rows)}

RULE = Rule("t", all_above(0.5), reads=(estimates, 0.8))
"""


@pytest.mark.parametrize(
    ("old", "changed", "same"),
    [
        ('"right"', '"wrong"', False),  # of a function that it reads by way of another
        ("0.8", "0.7", False),
        ("MOST = 1, 2", "MOST = 2, 1", False),  # the same two numbers
        ("\n\ndef share", "\n# of the last step\n\ndef share", True),
    ],
)
def test_a_digest_changes_with_what_makes_the_estimates_of_rows(tmp_path, old, changed, same):
    assert old in READING
    before, after = (digest(loaded(tmp_path, source).RULE) for source in (READING, READING.replace(old, changed)))
    assert (before == after) == same


def test_what_makes_estimates_is_read_as_far_as_its_own_folder_and_the_kit_is_not(tmp_path, monkeypatch):
    before = digest(loaded(tmp_path, READING).RULE)
    monkeypatch.setattr("transformer_jax.report.mean", lambda rows, y, pair: None)
    assert digest(loaded(tmp_path, READING).RULE) == before


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


@pytest.mark.parametrize("source", [IMPORTING, FACTORY], ids=["its name", "its module"])
@pytest.mark.parametrize(
    ("edited", "same"), [(("0.8", "0.7"), False), (("> limit", ">= limit"), False), (("\n", "  # why\n"), True)]
)
def test_a_digest_changes_with_a_function_of_another_file(tmp_path, monkeypatch, source, edited, same):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name, text in (("one", HELPER), ("two", HELPER.replace(*edited))):
        (tmp_path / f"kept_{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"kept_{name}", raising=False)
        text = source.format(module=f"kept_{name}", rule="Rule('t', above(0.8))")
        found.append(digest(loaded(tmp_path, text).RULE))
    assert (found[0] == found[1]) == same


def test_a_library_inside_the_checkout_is_not_read_into(tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path / ".venv")
    (tmp_path / ".venv").mkdir()
    (tmp_path / "experiments").mkdir()
    found = []
    for name, text in (("one", HELPER), ("two", HELPER.replace("0.8", "0.7"))):
        (tmp_path / ".venv" / f"kept_library_{name}.py").write_text(text)
        source = FACTORY.format(module=f"kept_library_{name}", rule="Rule('t', above(0.8))")
        found.append(digest(loaded(tmp_path / "experiments", source).RULE))
    assert found[0] == found[1]


def test_what_holds_itself_is_read_once(tmp_path):
    source = """
from transformer_jax.report import Rule, Verdict

def words(estimates):
    return Verdict.SUPPORTED if KNOWN else Verdict.REFUTED

KNOWN = {"words": words}
KNOWN["itself"] = KNOWN
RULE = Rule("t", words)
"""
    assert digest(loaded(tmp_path, source).RULE) == digest(loaded(tmp_path, source).RULE)


def test_what_decides_is_a_function():
    with pytest.raises(TypeError, match="a rule decides by a function"):
        digest(Rule("t", Verdict))


UP, DOWN, OPEN = Estimate(3, 2, 4, 5), Estimate(0, -1, 0.5, 5), Estimate(1, 0, 2, 5)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ([UP, UP], "SUPPORTED"),
        ([DOWN, DOWN], "REFUTED"),
        ([UP, DOWN, OPEN], "TASK-DEPENDENT"),
        ([UP, OPEN], "INCONCLUSIVE"),
        ([DOWN, OPEN], "INCONCLUSIVE"),
        ([UP, NOTHING], "INCONCLUSIVE"),
        ([], "INCONCLUSIVE"),
    ],
)
def test_intervals_on_one_side_of_a_limit_decide(found, word):
    assert all_above(1.0)({str(i): e for i, e in enumerate(found)}) == word


@given(st.lists(st.sampled_from([UP, DOWN, OPEN, NOTHING]), max_size=4), st.sampled_from([0.0, 1.0, 2.0]))
def test_below_is_above_of_the_negative(found, limit):
    negative = {str(i): Estimate(-e.value, -e.high, -e.low, e.n) for i, e in enumerate(found)}
    assert all_below(limit)({str(i): e for i, e in enumerate(found)}) == all_above(-limit)(negative)


def test_the_digest_holds_the_limit():
    assert digest(Rule("t", all_above(0.5))) == digest(Rule("t", all_above(0.5))) != digest(Rule("t", all_above(0.6)))


def test_few_seeds_or_few_estimates_decide_nothing():
    decide = of_at_least(5, all_above(1), estimates=2)
    assert decide({"a": UP, "b": UP}) == "SUPPORTED" and decide({"a": UP, "b": DOWN}) == "TASK-DEPENDENT"
    assert decide({"a": UP}) == decide({"a": UP, "b": UP._replace(n=4)}) == decide({}) == "INCONCLUSIVE"
    assert digest(Rule("t", of_at_least(5, all_above(1)))) != digest(Rule("t", of_at_least(4, all_above(1))))


def at(step):
    """Solved at a step; None: not within all of 600, which is where it lies above."""
    return Estimate(float("nan"), 600, float("inf"), 5) if step is None else Estimate(step, step, step, 5)


STEPS = st.sampled_from([100, 300, 301, 600, None])


@given(st.lists(st.tuples(STEPS, STEPS, STEPS), max_size=3), st.sampled_from(["wins", "solves"]))
def test_who_is_sooner_everywhere(tasks, split):
    """Against a count of tasks won and solved; of two recurrences the sooner one is asked."""
    of = {"attention": [a for a, _, _ in tasks]}
    of["recurrences"] = [min((step for step in two if step), default=None) for _, *two in tasks]
    (mine, others), n = of.values(), len(tasks)
    won = sum(a is not None and a <= 300 and b is None for a, b in zip(mine, others, strict=True))
    lost = sum(b is not None and b <= 300 and a is None for a, b in zip(mine, others, strict=True))
    word = "INCONCLUSIVE"
    if n and n in (won, lost):
        word = "SUPPORTED" if won == n else "REFUTED"
    elif split == "wins" and won and lost:
        word = "TASK-DEPENDENT"
    elif split == "solves" and won + lost and any(mine) and any(others):
        word = "TASK-DEPENDENT"
    found = {f"{i} pairs, {who}": at(step) for i, task in enumerate(tasks)
             for who, step in zip(("attention", "gru", "lstm"), task, strict=True)}  # fmt: skip
    assert sooner(split)(found) == word
    named = {f"copying, {i}: {who}": at(step) for who, steps in of.items() for i, step in enumerate(steps)}
    assert sooner(split)(named) == word


def test_a_task_without_both_sides_decides_nothing():
    assert sooner("wins")({"a, attention": at(100)}) == "INCONCLUSIVE"
    assert sooner("wins")({"a, attention": at(100), "a, gru": at(None), "b, gru": at(None)}) == "INCONCLUSIVE"
    with pytest.raises(ValueError, match="'a: attention, rotary' names no side: attention, "):
        sooner("wins")({"a: attention, rotary": at(100)})


def test_only_recurrences_sets_attention_against_the_others():
    decide = only_recurrences(lambda e: True if e.low > 1 else False if e.high < 1 else None)
    has, lacks, open_ = Estimate(3, 2, 4, 5), Estimate(0, -1, 0.5, 5), Estimate(1, 0, 2, 5)

    def verdict(attention, **others):
        return decide({"attention": attention} | others)

    assert verdict(lacks, rnn=has, gru=has) == "SUPPORTED"
    assert verdict(has, rnn=has) == verdict(lacks, rnn=lacks, gru=lacks) == verdict(has, rnn=lacks) == "REFUTED"
    assert verdict(lacks, rnn=has, gru=lacks) == "TASK-DEPENDENT"
    assert decide({"attention, pre": lacks, "attention, post": has, "rnn": has}) == "TASK-DEPENDENT"
    assert verdict(lacks, rnn=has, gru=open_) == verdict(open_, rnn=has) == "INCONCLUSIVE"
    assert verdict(lacks, rnn=has, gru=NOTHING) == decide({}) == decide({"rnn": has}) == "INCONCLUSIVE"
    assert verdict(lacks) == "INCONCLUSIVE"
