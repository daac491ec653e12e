"""Shapes in a series: each row without its noise is one of ten templates, stretched, shifted and scaled."""

import numpy as np
import pytest

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import registry, shapes_1d


def draw(seed, rows):
    return shapes_1d.shapes_1d(np.random.default_rng(seed), TaskConfig(batch_size=rows))


def test_without_line_and_noise_a_row_is_its_template(monkeypatch):
    """Of all templates at all shifts, scaled as fits best, the nearest is that of the label."""
    monkeypatch.setattr(shapes_1d, "SLOPE", 0)
    monkeypatch.setattr(shapes_1d, "NOISE", 0)
    monkeypatch.setattr(shapes_1d, "WIDTHS", (11, 11 + 1e-9))  # 12 points at 12 steps
    starts = np.arange(0, 28.01, 0.05)
    points = np.arange(40) - starts[:, None]
    shifted = np.array([np.interp(points, range(-1, 13), [0, *one, 0]) for one in shapes_1d.TEMPLATES])
    batch = draw(0, 60)
    for series, label in zip(batch["inputs"][..., 0], batch["targets"], strict=True):
        scales = (shifted @ series) / (shifted**2).sum(-1)
        errors = np.abs(series - scales[..., None] * shifted).max(-1)
        template, start = np.unravel_index(errors.argmin(), errors.shape)
        assert template == label and errors.min() < 0.12 and 0.55 < scales[template, start] < 1.45


def test_noise_is_correlated_and_of_its_deviation():
    noise = shapes_1d._noise(np.random.default_rng(0), 20_000)
    assert noise.shape == (20_000, 40)
    np.testing.assert_allclose(noise.std(0), 0.25, rtol=0.05)
    for lag in (1, 2, 4, 12):  # white noise smoothed by a Gaussian of deviation s: exp(-(lag / 2s)^2)
        found = np.mean(noise[:, lag:] * noise[:, :-lag]) / 0.25**2
        assert found == pytest.approx(np.exp(-((lag / 4) ** 2)), abs=0.02)


def test_shape_classes_and_splits(config_of):
    config = config_of("shapes_1d", batch_size=500)
    task = registry.build(config)
    assert task.shape == registry.TASKS["shapes_1d"].outline(config).shape == Shape(40, 10, input_dim=1, pooled=True)
    batch = next(task.train(0))
    assert {key: (array.shape, array.dtype.name) for key, array in batch.items()} == {
        "inputs": ((500, 40, 1), "float32"),
        "targets": ((500,), "int32"),
        "weights": ((500,), "float32"),
    }
    labels = np.concatenate([batch["targets"] for batch in task.evaluate("test")])
    assert (abs(np.bincount(labels) - 800) < 6 * 27).all() and registry.identity(config.task) == "shapes_1d"
    assert len({template.tobytes() for template in shapes_1d.TEMPLATES}) == 10
