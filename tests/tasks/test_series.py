"""Series to forecast: which steps a window reads and asks for, how they are scaled, which part is opened when."""

import shutil
from datetime import datetime, timedelta

import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import Config, ConfigError, ModelConfig, TaskConfig, with_overrides
from transformer_jax.tasks import prepare, registry, series, sets, sine_trend
from transformer_jax.train import log, programs
from transformer_jax.train.evaluate import evaluate

COUNTS = {"train": 29, "validation": 11, "test": 8}
VALUES = np.random.default_rng(0).normal([1, -40, 7], [2, 9, 0.5], (48, 3))
CONFIG = Config(task=TaskConfig(name="meter", seq_len=6, horizon=4, batch_size=5))


def parts():
    ends = np.cumsum(list(COUNTS.values()))
    return dict(zip(COUNTS, np.split(VALUES, ends[:-1]), strict=True))


def made(config=CONFIG, opened=None):
    def load(split):
        if opened is not None:
            opened.append(split)
        return parts()[split]

    return series.around(config, load, COUNTS, ["a", "b", "c"], dict)


def rows(batches):
    """All (inputs, targets) that count."""
    return [
        (one, two)
        for batch in batches
        for one, two, weight in zip(batch["inputs"], batch["targets"], batch["weights"], strict=True)
        if weight.all()
    ]


@pytest.mark.parametrize(
    ("split", "first", "last"), [("train", 0, 29), ("validation", 29 - 6, 40), ("test", 40 - 6, 48)]
)
def test_windows_of_each_split(split, first, last):
    """Those of validation and test read up to seq_len steps before their part: each of its steps is answered."""
    scaled = (VALUES - VALUES[:29].mean(0)) / VALUES[:29].std(0)
    found = rows(made().evaluate(split))
    assert len(found) == last - first - 10 + 1
    for start, (inputs, targets) in enumerate(found, first):
        np.testing.assert_allclose(inputs, scaled[start : start + 6], rtol=1e-5)
        np.testing.assert_allclose(targets, scaled[start + 6 : start + 10], rtol=1e-5)


def test_batches_and_shape():
    task = made()
    assert task.shape == (6, 3, None, 3, False, None, None, 4, None) and task.objective.best == ("mse", "min")
    for batch in (next(task.train(0)), *task.evaluate("validation")):
        assert batch["inputs"].shape == (5, 6, 3) and batch["targets"].shape == (5, 4, 3)
        assert batch["weights"].shape == (5, 4) and all(part.dtype == np.float32 for part in batch.values())


def test_training_draws_each_window_once_an_epoch():
    stream = made().train(3)
    drawn = [row.tobytes() for _ in range(4) for row in next(stream)["inputs"]]  # 20 windows, as many as there are
    expected = [inputs.tobytes() for inputs, _ in rows(made().evaluate("train"))]
    assert sorted(drawn) == sorted(expected) and drawn != expected


def test_the_test_part_is_opened_when_it_is_asked_for():
    opened = []
    task = made(opened=opened)
    next(task.train(0))
    list(task.evaluate("validation"))
    assert set(opened) == {"train", "validation"}
    list(task.evaluate("test"))
    assert sorted(opened) == sorted(COUNTS)
    with pytest.raises(ValueError, match="no split 'dev'"):
        task.evaluate("dev")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"seq_len": 26},
            "seq_len=26 and task.horizon=4 make windows of 30 steps, and the training part of meter has 29",
        ),
        ({"horizon": 9}, "task.horizon=9: the test part of meter has 8 steps"),
        ({"horizon": 12, "seq_len": 3}, "task.horizon=12: the validation part of meter has 11 steps"),
    ],
)
def test_a_series_shorter_than_a_window(sizes, message):
    with pytest.raises(ConfigError, match=message):
        made(with_overrides(CONFIG, {f"task.{key}": value for key, value in sizes.items()}))


@pytest.mark.parametrize("sizes", [{"seq_len": 25}, {"horizon": 8}])
def test_a_series_just_long_enough(sizes):
    task = made(with_overrides(CONFIG, {f"task.{key}": value for key, value in sizes.items()}))
    assert all(len(rows(task.evaluate(split))) >= 1 for split in COUNTS)


def short(config):
    """With patches that fit into a short window."""
    return with_overrides(config, {"model.patch_len": 4, "model.patch_stride": 2})


def csv(path, count=60, factor=1):
    times = [datetime(2024, 1, 1) + timedelta(days=n) for n in range(count)]
    path.write_text("t,x,y\n" + "".join(f"{t},{factor * n * n % 7},{n}\n" for n, t in enumerate(times)))
    return path


def test_a_series_of_the_users_own_is_a_task_of_its_name(config_of, tmp_path):
    prepare.prepare_own("series", "mine", csv(tmp_path / "x.csv"), tmp_path / "data")
    task = registry.build(short(config_of("mine", seq_len=7, horizon=3, batch_size=4)))
    assert task.shape.input_dim == 2 and task.shape.horizon == 3
    described = task.describe()
    assert described["counts"] == {"train": 42, "validation": 6, "test": 12} and described["columns"] == ["x", "y"]
    assert list(described["sha256"]) == ["x.csv"] and not described["generated"]
    (inputs, targets), *_ = rows(task.evaluate("test"))
    scaled = (np.arange(60) - np.arange(42).mean()) / np.arange(42).std()
    np.testing.assert_allclose(inputs[:, 1], scaled[41:48], rtol=1e-5)
    np.testing.assert_allclose(targets[:, 1], scaled[48:51], rtol=1e-5)
    with pytest.raises(ConfigError, match="the training part of mine has 42: the series is shorter than a window"):
        registry.build(config_of("mine", seq_len=40, horizon=3))
    assert registry.identity(config_of("mine").task) == "mine"
    assert registry.identity(config_of("mine", horizon=3).task) == "mine (horizon 3)"


def test_a_run_refuses_another_series_under_the_name(config_of, tmp_path):
    config = short(config_of("mine", seq_len=7, horizon=3, batch_size=4))
    (tmp_path / "run").mkdir()
    for factor, other in ((1, False), (1, False), (2, True)):
        prepare.prepare_own("series", "mine", csv(tmp_path / "x.csv", factor=factor), tmp_path / "data")
        task = registry.build(config)
        if other:
            with pytest.raises(ConfigError, match="was trained with another series.json"):
                log.keep_files(tmp_path / "run", task.files)
        else:
            log.keep_files(tmp_path / "run", task.files)
        shutil.rmtree(tmp_path / "data" / "mine")


def test_a_run_whose_series_is_gone_says_how_to_get_it(config_of):
    with pytest.raises(sets.MissingData, match="prepare KIND --from FILES --name mine"):
        registry.build(config_of("mine"), files=((series.FILE, b"{}"),))
    with pytest.raises(sets.MissingData, match=r"prepare ett_h1 --from FOLDER.*\n.*--task.name sine_trend"):
        registry.build(config_of("ett_h1", seq_len=336))


def test_labels_are_not_smoothed_in_a_forecast(config_of):
    config = with_overrides(config_of("sine_trend", seq_len=24), {"train.label_smoothing": 0.1})
    with pytest.raises(ConfigError, match="train.label_smoothing=0.1 smooths classes, and a forecast has none"):
        registry.build(config)


def test_sines_with_a_trend(config_of):
    values = sine_trend.values()
    np.testing.assert_array_equal(values, sine_trend.values())
    steps, count = np.arange(4000), 4000
    clean = [np.sin(2 * np.pi * steps / 12), np.sin(2 * np.pi * steps / 24)]
    clean += [clean[1] + np.sin(2 * np.pi * steps / 60)]
    noise = values - np.stack(clean, 1) - 8 * steps[:, None] / count
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.2], atol=0.005)
    assert abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.06
    task = registry.build(config_of("sine_trend", seq_len=30, horizon=24))
    assert task.describe()["generated"] and task.shape.input_dim == 3
    problems = registry.needs(config_of("sine_trend", seq_len=3000))
    assert any("the training part of sine_trend has 2800" in problem for problem in problems)


def repeated(config, split):
    """The metrics of the last step repeated, by the code that evaluates runs."""
    task = registry.build(config)
    model = models.build(ModelConfig(forecaster="repeat_last"), task.shape)
    run = programs.build(model, task.objective, config.train)
    (metrics,) = evaluate(run, {}, task.evaluate(split), task.objective)
    return metrics


def test_the_error_of_the_last_step_repeated(config_of):
    metrics = repeated(config_of("sine_trend", seq_len=20, horizon=5, batch_size=64), "validation")
    values = (sine_trend.values() - sine_trend.values()[:2800].mean(0)) / sine_trend.values()[:2800].std(0)
    off = np.stack([values[n : n + 5] - values[n - 1] for n in range(2800, 3200 - 5 + 1)])
    assert metrics == pytest.approx({"loss": (off**2).mean(), "mse": (off**2).mean(), "mae": abs(off).mean()}, rel=1e-4)


@pytest.mark.slow
def test_the_published_error_of_the_last_step_repeated(real, config_of, tmp_path):
    """The split, the scaling and the windows are those of the literature, in which this is the first line of tables."""
    prepare.prepare("ett_h1", real("ett_h1"), tmp_path / "data")
    metrics = repeated(config_of("ett_h1", seq_len=336, horizon=96, batch_size=128), "test")
    assert round(metrics["mse"], 3) == 1.294 and round(metrics["mae"], 3) == 0.713
