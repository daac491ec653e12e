"""The report on recall decides by its rule from planted curves, one a seed."""

import importlib.util
from pathlib import Path

import numpy as np

from transformer_jax.report import digest, write

PATH = Path(__file__).parents[2] / "experiments" / "recall" / "report.py"
spec = importlib.util.spec_from_file_location("recall_report", PATH)
recall = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recall)


def planted(attention, lstm, pairs=(1, 2, 4, 8)):
    """Accuracy rises over steps to what is given, divided by the number of pairs."""
    rng, found = np.random.default_rng(0), []
    for mixer, last in (("attention", attention), ("lstm", lstm)):
        for n in pairs:
            for part, (lane, step) in enumerate((lane, step) for lane in range(3) for step in (100, 200)):
                accuracy = last(n) * step / 200 + rng.normal(0, 0.005)
                found.append({"status": "ok", "round": 0, "part": part, "key": f"{mixer}{n}", "studies": ("pairs",),
                              "model.mixer": mixer, "task.num_items": n, "lane": lane, "step": step,
                              "accuracy": float(accuracy)})  # fmt: skip
    return found


def verdict(rows):
    return recall.report(rows).answers[0].verdict


def test_the_rule_decides_over_the_last_evaluation_of_every_seed():
    assert verdict(planted(lambda n: 0.9, lambda n: 0.5)) == "SUPPORTED"
    assert verdict(planted(lambda n: 0.5, lambda n: 0.9)) == "REFUTED"
    assert verdict(planted(lambda n: 0.9, lambda n: 0.5 + 0.1 * n)) == "TASK-DEPENDENT"
    assert verdict(planted(lambda n: 0.9, lambda n: 0.9)) == "INCONCLUSIVE"
    assert verdict([]) == "INCONCLUSIVE" == verdict(planted(lambda n: 0.9, lambda n: 0.5)[:30])
    (finding,) = recall.report(planted(lambda n: 0.9, lambda n: 0.5)).answers
    assert list(finding.estimates) == ["2 pairs", "4 pairs", "8 pairs"] and finding.estimates["2 pairs"].n == 3


def test_the_page_has_both_figures_and_knows_the_rule(tmp_path):
    rows = planted(lambda n: 0.9, lambda n: 0.5)
    rules = {name: digest(rule) for name, rule in recall.RULES.items()}
    write(tmp_path, recall.report(rows), [{"id": "h", "rules": rules}], [row | {"header": "h"} for row in rows])
    page = (tmp_path / "report.html").read_text()
    assert "SUPPORTED" in page and "was changed" not in page
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"accuracy_by_pairs", "accuracy_by_step"}
