"""A picture of what a run forecasts: windows of the validation split, the forecast over what came."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from transformer_jax.lab import trained
from transformer_jax.report.plots import LOOKS, Figure, whole
from transformer_jax.train.checkpoint import Checkpoints

WINDOWS, CHANNELS = 3, 3
"""So many are drawn, evenly spaced from the first to the last."""
BEFORE = 2
"""Horizons of the past that are drawn, as far as they are read."""


class Forecast(NamedTuple):
    """Windows and their forecasts, scaled as the task scales them."""

    past_WxLxC: np.ndarray
    truth_WxHxC: np.ndarray
    forecast_WxHxC: np.ndarray
    windows: tuple[int, ...]
    """The number of each window in the split."""
    channels: tuple[str, ...]
    step: int | str
    """The checkpoint that forecasts."""


def of_run(folder: Path, build_task: trained.BuildTask, data_dir: str | None = None) -> Forecast | None:
    """What the best checkpoint of a run (its first lane) forecasts for windows of the validation split.

    None: its task is no forecast, or nothing is saved.

    Raises:
      ConfigError, CheckpointError, FileNotFoundError: as `trained.restored`.
    """
    _, task = trained.task_of(folder, build_task, data_dir)
    if task.shape.horizon is None or not Checkpoints(folder / "checkpoints").steps():
        return None
    found = trained.restored(folder, build_task, data_dir=data_dir)
    sizes = [int((batch["weights"][:, 0] > 0).sum()) for batch in task.evaluate("validation")]
    ends, windows = np.cumsum(sizes), _spread(sum(sizes), WINDOWS)
    picked = [
        {name: batch[name][n - end + size] for name in ("inputs", "targets")}
        for batch, size, end in zip(task.evaluate("validation"), sizes, ends, strict=True)
        for n in windows
        if end - size <= n < end
    ]
    inputs, targets = (np.stack([one[name] for one in picked]) for name in ("inputs", "targets"))
    forecast = np.asarray(jax.jit(found.model.apply)(found.lanes[0], inputs))
    channels = _spread(inputs.shape[-1], CHANNELS)
    names = task.describe().get("columns", [f"channel {i}" for i in range(inputs.shape[-1])])
    past, truth, forecast = (array[..., list(channels)] for array in (inputs, targets, forecast))
    return Forecast(past, truth, forecast, windows, tuple(names[i] for i in channels), found.step)


def figure(found: Forecast) -> Figure:
    """A row of panels for each window, a column for each channel."""
    windows, horizon, channels = found.truth_WxHxC.shape
    before = min(BEFORE * horizon, found.past_WxLxC.shape[1])
    past_x, future_x = np.arange(-before, 0), np.arange(horizon)
    caption = (
        f"Windows of the validation split, forecast by the parameters of step {found.step}. The forecast begins at 0;"
        f" before it are the last {before} of the {found.past_WxLxC.shape[1]} steps that were read. Values are scaled"
        " by the training part: 0 is its mean, 1 its standard deviation. Dotted: the last step repeated."
    )

    def draw(canvas):
        axes = canvas.subplots(windows, channels, sharex=True, squeeze=False)
        for (w, c), one in np.ndenumerate(axes):
            past, truth = found.past_WxLxC[w, -before:, c], found.truth_WxHxC[w, :, c]
            one.axvline(0, color="#999999", linewidth=0.8)
            one.plot(past_x, past, color="#7F7F7F", linewidth=1, label="read")
            one.hlines(past[-1], 0, horizon - 1, color="#7F7F7F", linestyle=(0, (1, 1.5)), linewidth=1)
            one.plot(future_x, truth, color=LOOKS[0][0], linewidth=1.2, label="what came")
            one.plot(future_x, found.forecast_WxHxC[w, :, c], color=LOOKS[4][0], linewidth=1.6, label="forecast")
            if w == 0:
                one.set_title(found.channels[c])
            if c == 0:
                one.set_ylabel(f"window {found.windows[w]}")
        whole(axes[0, 0].xaxis)  # which all share
        canvas.supxlabel("steps from the beginning of the forecast", fontsize=9)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper center", ncols=3)

    return Figure("forecasts", "Forecasts, over what came", caption, draw, (10.0, 1.0 + 1.9 * windows))


def _spread(count: int, most: int) -> tuple[int, ...]:
    """Up to so many of `count` numbers from 0, evenly spaced, the first and the last among them."""
    return tuple(sorted({int(n) for n in np.linspace(0, count - 1, min(count, most)).round()}))
