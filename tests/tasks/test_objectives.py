"""Objectives against NumPy, written from their formulas, over batches of unequal weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.tasks.objectives import cross_entropy, forecast_error, octaves, squared_error
from transformer_jax.tasks.task import Objective
from transformer_jax.train.evaluate import divide, evaluate, score
from transformer_jax.train.programs import Programs


def batches_of_numbers(counts=(5, 3, 1), outputs=2, dtype=np.float32):
    """[(predictions, batch)]: rows filled up at weight 0 hold what is not a number."""
    random, found = np.random.default_rng(0), []
    for count in counts:
        targets, predicted = (random.normal(1.5, 2, (max(counts), outputs)) for _ in range(2))
        weights = (np.arange(max(counts)) < count).astype(np.float32)
        targets[count:] = np.nan
        found.append((predicted.astype(np.float32), {"targets": targets.astype(dtype), "weights": weights}))
    return found


def evaluated(objective, pairs):
    """As a split is evaluated, with a model whose outputs are given."""

    def program(params, pair):
        loss, metrics = objective.terms(*pair)
        return {"loss": loss} | metrics

    (metrics,) = evaluate(Programs(None, None, program, None), None, pairs, objective)
    return metrics


@pytest.mark.parametrize(("dtype", "accuracy"), [(np.float32, 1e-5), (np.float16, 2e-3), (jnp.bfloat16, 2e-2)])
def test_squared_error_and_r2_over_a_whole_split(dtype, accuracy):
    pairs = batches_of_numbers(dtype=dtype)
    targets, predicted = (
        np.concatenate([np.asarray(x, np.float64)[b["weights"] > 0] for x, b in found])
        for found in ([(b["targets"], b) for _, b in pairs], pairs)
    )
    mse = np.mean((targets - predicted) ** 2)
    expected = {"loss": mse, "mse": mse, "r2": 1 - mse / targets.var()}
    assert evaluated(squared_error(), pairs) == pytest.approx(expected, rel=accuracy)


def test_r2_is_no_mean_of_the_batches_and_has_its_landmarks():
    """1 where all is right; 0 for the mean of the targets; NaN where nothing varies."""
    objective, pairs = squared_error(), batches_of_numbers()
    right = [(np.nan_to_num(batch["targets"]), batch) for _, batch in pairs]
    assert evaluated(objective, right)["r2"] == 1
    kept = np.concatenate([batch["targets"][batch["weights"] > 0] for _, batch in pairs])
    average = [(np.full_like(predicted, kept.mean()), batch) for predicted, batch in pairs]
    assert evaluated(objective, average)["r2"] == pytest.approx(0, abs=1e-5)
    by_batch = [evaluated(objective, [pair])["r2"] for pair in pairs]
    assert abs(np.mean(by_batch) - evaluated(objective, pairs)["r2"]) > 0.1
    constant = [(predicted, batch | {"targets": np.ones_like(predicted)}) for predicted, batch in pairs]
    assert np.isnan(evaluated(objective, constant)["r2"])


def test_what_has_no_weight_has_no_gradient():
    (predicted, batch), *_ = batches_of_numbers((1, 5))
    grads = jax.grad(lambda outputs: squared_error().terms(outputs, batch)[0][0])(predicted)
    assert np.all(np.isfinite(grads)) and not np.any(grads[1:]) and np.all(grads[0] != 0)


def test_targets_of_another_kind_or_shape_are_refused():
    (predicted, batch), *_ = batches_of_numbers()
    with pytest.raises(TypeError, match="must be floats, not int32"):
        squared_error().terms(predicted, batch | {"targets": np.zeros_like(predicted, np.int32)})
    for wrong in ({"targets": predicted[:, :1]}, {"weights": predicted}):
        with pytest.raises(ValueError, match="shapes disagree"):
            squared_error().terms(predicted, batch | wrong)


def test_cross_entropy_and_accuracy():
    random = np.random.default_rng(1)
    logits, targets = random.normal(size=(4, 3, 7)), random.integers(0, 7, (4, 3))
    weights = random.integers(0, 2, (4, 3)).astype(np.float32)
    picked = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    entropy = np.log(np.exp(logits).sum(-1)) - picked
    batch = {"targets": targets, "weights": weights}
    objective = cross_entropy(0.2)
    expected = {
        "loss": np.average(entropy, weights=weights),
        "accuracy": np.average(logits.argmax(-1) == targets, weights=weights),
    }
    assert evaluated(objective, [(logits.astype(np.float32), batch)]) == pytest.approx(expected, rel=1e-5)
    smoothed = 0.8 * entropy + 0.2 * (np.log(np.exp(logits).sum(-1)) - logits.mean(-1))
    (loss, weight), metrics = objective.trained(logits.astype(np.float32), batch)
    assert loss / weight == pytest.approx(np.average(smoothed, weights=weights), rel=1e-5)
    assert set(metrics) == {"accuracy"} and cross_entropy().trained is None


def test_accuracy_by_distance():
    random = np.random.default_rng(3)
    logits, targets = random.normal(size=(6, 5, 4)).astype(np.float32), random.integers(0, 4, (6, 5))
    weights, distances = random.integers(0, 2, (6, 5)).astype(np.float32), random.integers(1, 8, (6, 5))
    groups = octaves(2, 8)
    assert groups == ((2, 3), (4, 7), (8, 15)) and octaves(1, 1) == ((1, 1),)
    batch = {"targets": targets, "weights": weights, "distances": distances}
    parts = [(logits[part], {key: array[part] for key, array in batch.items()}) for part in (slice(2), slice(2, 6))]
    found = evaluated(cross_entropy(0.0, groups), parts)
    for low, high in groups[:2]:
        inside = (distances >= low) & (distances <= high) & (weights > 0)
        assert found[f"accuracy_{low}_{high}"] == pytest.approx(np.mean(logits.argmax(-1)[inside] == targets[inside]))
    assert "accuracy_8_15" not in found  # there is none
    assert found["loss"] == pytest.approx(evaluated(cross_entropy(), [(logits, batch)])["loss"])
    assert cross_entropy(0.0, groups) is cross_entropy(0.0, octaves(3, 9))
    sorted_as_text = {"accuracy": 0.5, "accuracy_16_31": 0.1, "accuracy_2_3": 0.2, "accuracy_8_15": 0.3, "loss": 1.0}
    by_distance = ["accuracy", "loss", "accuracy_2_3", "accuracy_8_15", "accuracy_16_31"]
    assert list(cross_entropy(0.0, groups).finish(sorted_as_text)) == by_distance


def test_the_errors_of_a_forecast():
    random = np.random.default_rng(2)
    outputs, targets = random.normal(size=(2, 4, 3, 5)).astype(np.float32)
    weights = np.repeat([[1.0], [1.0], [0.0], [1.0]], 3, axis=1).astype(np.float32)
    targets[2, 0, 0] = np.nan  # of a row that fills up a batch
    off = (outputs - targets)[[0, 1, 3]]
    expected = {"loss": (off**2).mean(), "mse": (off**2).mean(), "mae": np.abs(off).mean()}
    found = evaluated(forecast_error(), [(outputs, {"targets": targets, "weights": weights})])
    assert found == pytest.approx(expected, rel=1e-5)
    assert forecast_error() is forecast_error() and forecast_error().best == ("mse", "min")


def test_equal_objectives_are_one_object():
    """A step that is compiled for one is found again for the other."""
    assert cross_entropy(0.1) is cross_entropy(0.1) and squared_error() is squared_error()


def test_metrics_that_are_no_means_are_finished_by_lane_and_the_best_may_be_the_highest():
    """Perplexity, in two lanes: the exponential of the mean, which is no mean of exponentials."""
    objective = Objective(
        terms=None, finish=lambda means: means | {"perplexity": float(np.exp(means["loss"]))}, best=("accuracy", "max")
    )
    sums = {
        "loss": (np.array([[1.0, 4.0], [2.0, 2.0]]), np.array([[1.0, 1.0], [2.0, 2.0]])),
        "accuracy": (np.array([[1.0, 0.0], [1.0, 1.0]]), np.ones((2, 2))),
    }
    lanes = divide(sums, objective)
    assert [lane["perplexity"] for lane in lanes] == [pytest.approx(np.exp(1)), pytest.approx(np.exp(2))]
    assert score(lanes, objective) == 0.75
    assert score(lanes, objective._replace(best=("loss", "min"))) == -1.5
