"""Sums and weights: batches of unequal weight count as much as they weigh."""

import numpy as np
import pytest

from transformer_jax.config import ConfigError
from transformer_jax.tasks.task import Objective
from transformer_jax.train.evaluate import divide, evaluate, score, texts
from transformer_jax.train.programs import Programs

MEANS = Objective(terms=None)


def programs(evaluate, judge=None):
    return Programs(init=None, run_chunk=None, evaluate=evaluate, judge=judge)


def test_unequal_batches_are_divided_once():
    values, weights = np.array([3.0, 1.0, 10.0]), np.array([2.0, 5.0, 1.0])
    batches = [{"v": v, "w": w} for v, w in zip(values, weights, strict=True)]
    (found,) = evaluate(programs(lambda params, b: {"loss": (b["v"] * b["w"] * params, b["w"])}), 2.0, batches, MEANS)
    assert found == {"loss": pytest.approx(2 * np.average(values, weights=weights))}


def test_lanes_are_kept_apart_and_their_mean_chooses():
    sums = {"loss": (np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 0.0]]), np.array([[2.0, 1.0], [1.0, 1.0], [1.0, 1.0]]))}
    assert divide(sums, MEANS) == [{"loss": 1.5}, {"loss": 2.0}]
    assert score(divide(sums, MEANS), MEANS) == -1.75


def test_nothing_counted_is_no_number():
    assert np.isnan(divide({"loss": (np.zeros(2), np.zeros(2))}, MEANS)[0]["loss"])
    with pytest.raises(ValueError, match="no batches"):
        evaluate(programs(lambda *_: None), None, [], MEANS)


def test_a_judge_sees_each_lane_and_the_whole_split_and_may_choose_the_best():
    def judge(params, batches):
        return {"bleu": float(params["w"]) * sum(batch["v"] for batch in batches)}

    objective = Objective(terms=None, best=("bleu", "max"))
    run = programs(lambda params, b: {"loss": (params["w"] * b["v"], np.ones(2))}, judge)
    lanes = evaluate(run, {"w": np.array([2.0, 3.0])}, iter([{"v": 1.0}, {"v": 4.0}]), objective)
    assert lanes == [{"loss": 5.0, "bleu": 10.0}, {"loss": 7.5, "bleu": 15.0}]
    assert score(lanes, objective) == 12.5


def test_another_metric_may_choose_the_best():
    objective = Objective(terms=None, choices=(("loss", "min"), ("bleu", "max")), best=("root", "min"))
    lanes = [{"loss": 2.0, "bleu": 10.0, "root": 5.0}, {"loss": 4.0, "bleu": 20.0, "root": 7.0}]
    found = [score(lanes, objective, best) for best in ("loss", "bleu", "root", None)]
    assert found == [-3.0, 15.0, -6.0, -6.0]
    with pytest.raises(ConfigError, match="train.best='blue' is no metric .*; did you mean bleu"):
        score(lanes, objective, "blue")


def test_an_interval_stands_behind_its_metric():
    metrics = {"loss": 1.23456, "bleu_low": 56.6123, "bleu": 58.0641, "bleu_high": 59.4999, "exact_low": 0.5}
    assert texts(metrics, 4) == {"loss": "1.2346", "bleu": "58.1 [56.6, 59.5]", "exact_low": "0.5000"}
    narrow = {"bleu": 58.0641, "bleu_low": 58.05, "bleu_high": 58.07}
    assert texts(narrow, 4) == {"bleu": "58.064 [58.050, 58.070]"}
    for low in (0.25, float("nan")):  # no width
        assert texts({"b": 0.25, "b_low": low, "b_high": low}, 2) == {"b": f"0.25 [{low:.2f}, {low:.2f}]"}
