"""The report on recall decides by its rule from planted curves, one a seed."""

import importlib.util
from pathlib import Path

import numpy as np

from transformer_jax.report import digest, write

PATH = Path(__file__).parents[2] / "experiments" / "recall" / "report.py"
spec = importlib.util.spec_from_file_location("recall_report", PATH)
recall = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recall)


def planted(attention, lstm, gru=None, seeds=5):
    """Accuracy rises over steps to what is given for so many pairs; a GRU's to the LSTM's, unless it is given."""
    rng, found = np.random.default_rng(0), []
    for mixer, last in (("attention", attention), ("lstm", lstm), ("gru", gru or lstm)):
        for n in (2, 4, 8):
            for part, (lane, step) in enumerate((lane, step) for lane in range(seeds) for step in (100, 200)):
                accuracy = last(n) * step / 200 + rng.normal(0, 0.005)
                found.append({"status": "ok", "round": 0, "part": part, "key": f"{mixer}{n}", "studies": ("pairs",),
                              "model.mixer": mixer, "task.num_items": n, "lane": lane, "step": step,
                              "accuracy": float(accuracy), "accuracy_2_3": float(accuracy),
                              "accuracy_16_31": float(accuracy) / 2})  # fmt: skip
    return found


def verdict(rows):
    return recall.report(rows).answers[0].verdict


def test_the_rule_decides_over_the_last_evaluation_of_every_seed():
    assert verdict(planted(lambda n: 0.9, lambda n: 0.5)) == "SUPPORTED"
    assert verdict(planted(lambda n: 0.5, lambda n: 0.9)) == "REFUTED"
    assert verdict(planted(lambda n: 0.9, lambda n: 0.5 + 0.1 * n)) == "TASK-DEPENDENT"
    assert verdict(planted(lambda n: 0.9, lambda n: 0.9)) == "INCONCLUSIVE"
    assert verdict(planted(lambda n: 0.9, lambda n: 0.5, gru=lambda n: 0.95)) == "TASK-DEPENDENT"
    assert verdict(planted(lambda n: 0.9, lambda n: 0.5, seeds=4)) == "INCONCLUSIVE"
    assert verdict([]) == "INCONCLUSIVE" == verdict(planted(lambda n: 0.9, lambda n: 0.5)[:30])
    finding, shares = recall.report(planted(lambda n: 0.9, lambda n: 0.5)).answers
    assert {mixer: round(share.value, 1) for mixer, share in shares.estimates.items()} == {
        "8 pairs: attention": 0.9, "8 pairs: gru": 0.5, "8 pairs: lstm": 0.5
    }  # fmt: skip
    assert list(finding.estimates) == [f"{n} pairs, less {mixer}" for n in (2, 4, 8) for mixer in ("gru", "lstm")]
    assert finding.estimates["2 pairs, less gru"].n == 5


def test_the_page_has_its_figures_and_knows_the_rule(tmp_path):
    rows = planted(lambda n: 0.9, lambda n: 0.5)
    rules = {name: digest(rule) for name, rule in recall.RULES.items()}
    write(tmp_path, recall.report(rows), [{"id": "h", "rules": rules}], [row | {"header": "h"} for row in rows])
    page = (tmp_path / "report.html").read_text()
    assert "SUPPORTED" in page and "was changed" not in page
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "accuracy_by_pairs", "accuracy_by_step", "accuracy_by_distance"
    }  # fmt: skip
