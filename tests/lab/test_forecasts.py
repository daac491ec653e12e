"""Forecasts over what came: the windows that are drawn, by the parameters of the best checkpoint, and the picture."""

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig, with_overrides
from transformer_jax.lab import forecasts, trial, trial_page
from transformer_jax.report.plots import render
from transformer_jax.tasks import registry, sine_trend

CONFIG = Config(
    model=ModelConfig(forecaster="repeat_last"),
    task=TaskConfig(name="sine_trend", seq_len=20, horizon=6, batch_size=64),
    train=TrainConfig(num_steps=1, eval_every=1, checkpoint_every=1),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trial.train(CONFIG, registry.build(CONFIG), folder)
    return folder


def test_windows_from_the_first_to_the_last_of_the_validation_split(run):
    found = forecasts.of_run(run, registry.build)
    assert found.windows == (0, 197, 394) and found.channels == ("fast", "slow", "both") and found.step == 1
    values = (sine_trend.values() - sine_trend.values()[:2800].mean(0)) / sine_trend.values()[:2800].std(0)
    for place, window in enumerate(found.windows):
        start = 2800 + window
        np.testing.assert_allclose(found.past_WxLxC[place], values[start - 20 : start], rtol=1e-5)
        np.testing.assert_allclose(found.truth_WxHxC[place], values[start : start + 6], rtol=1e-5)
        np.testing.assert_allclose(found.forecast_WxHxC[place], np.repeat(values[start - 1][None], 6, 0), rtol=1e-5)


def test_the_picture(run):
    found = forecasts.of_run(run, registry.build)
    figure, canvas = forecasts.figure(found), Canvas()
    figure.draw(canvas)
    assert len(canvas.axes) == 9 and [one.get_title() for one in canvas.axes[:3]] == list(found.channels)
    for (window, channel), one in zip(np.ndindex(3, 3), canvas.axes, strict=True):
        lines = {line.get_label(): line for line in one.lines}
        assert list(lines["read"].get_xdata()) == list(range(-12, 0))  # two horizons
        for name, values in (("what came", found.truth_WxHxC), ("forecast", found.forecast_WxHxC)):
            np.testing.assert_array_equal(lines[name].get_ydata(), values[window, :, channel])
            assert list(lines[name].get_xdata()) == list(range(6))
    assert "parameters of step 1" in figure.caption and "last 12 of the 20 steps" in figure.caption
    assert render(figure)[1].startswith(b"\x89PNG")


def test_it_stands_above_the_curves_of_the_page(run):
    page = trial_page.write(run, [forecasts.figure(forecasts.of_run(run, registry.build))]).read_text()
    assert page.index("<h3>Forecasts, over what came") < page.index("<h3>loss") < page.index("<h3>mae")
    assert "repeat_last on sine_trend</title>" in page


def test_what_has_no_forecast(tmp_path):
    config = with_overrides(
        CONFIG, {"model.forecaster": "stack", "task.name": "copy_memory", "task.num_items": 2, "model.d_model": 8}
    )
    trial.train(config, registry.build(config), tmp_path)
    assert forecasts.of_run(tmp_path, registry.build) is None


@pytest.mark.parametrize(("count", "most", "expected"), [(1, 3, (0,)), (2, 3, (0, 1)), (7, 3, (0, 3, 6)), (9, 1, (0,))])
def test_evenly_spaced(count, most, expected):
    assert forecasts._spread(count, most) == expected
