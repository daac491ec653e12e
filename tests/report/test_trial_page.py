"""run.html: a training's curves, last validation, config and launches on the kit's page."""

import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.lab import trial_page
from transformer_jax.train.log import Log, claim, record


def folder_of(folder, rows):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.json").write_text(json.dumps({"model.mixer": "<script>alert(1)</script>"}))
    (folder / "launches.jsonl").write_text('{"kind": "start", "time": "2026-01-01", "versions": {"jax": "0.10"}}\n')
    return folder


def test_every_metric_is_a_figure_with_the_mean_over_lanes_of_each_split(tmp_path):
    rows = [{"step": 10, "event": "nan"}]
    for step in (20, 40):
        for lane in (0, 1, 2):
            rows.append({"step": step, "split": "train", "lane": lane, "loss": 1 / step, "grad_norm": None})
            loss = (2 + lane / 10) / step
            rows.append({"step": step, "split": "validation", "lane": lane, "loss": loss, "accuracy": 0.5})
    page = trial_page.write(folder_of(tmp_path, rows)).read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    for text in (
        "train, mean of 3 lanes",
        "validation, mean of 3 lanes",
        '<td class="question">Validation, step 40</td><td class="answer">mean of 3 lanes</td>',
        "Validation, step 40, by lane",
        f"<title>{tmp_path.name}: &lt;script&gt;",
        "loss: 0.0525 [0.0463, 0.0587]",  # 0.05, 0.0525, 0.055: Student's t, 4.303 * 0.0025 / sqrt(3)
        '<td class="n">0</td><td class="n">0.05</td><td class="n">0.5</td>',
        "2026-01-01",
    ):
        assert text in page, text
    assert page.count("<figure") == 2  # no value of grad_norm was finite


def test_the_band_is_the_interval_of_the_mean_and_does_not_set_the_scale():
    steps = {10: [1.0, 2.0, 3.0], 20: [0.5, 1.0, float("nan")], 30: [0.25, 0.5, 0.75]}
    canvas = Canvas()
    trial_page._figure("metric_0", "loss", {"": {"train": steps, "two": {10: [1.0, 3.0]}}}).draw(canvas)
    (one,) = canvas.axes
    *lanes, mean = one.lines[:4]
    assert len(lanes) == 3 and len({line.get_color() for line in one.lines[:4]}) == 1
    np.testing.assert_array_equal(mean.get_ydata(), [2, np.nan, 0.5])
    (band,) = one.collections  # two lanes have none
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(2 + 4.302653 / 3**0.5)
    assert one.get_ylim() == pytest.approx((0.25 - 0.1375, 3 + 0.1375))


def test_steps_have_whole_ticks_and_minutes_have_not():
    def ticks(**options):
        canvas, steps = Canvas(), {s: [1.0 / s] for s in (10, 20, 30)}
        trial_page._figure("metric_0", "loss", {"": {"train": steps}}, **options).draw(canvas)
        return canvas.axes[0].get_xticks()

    assert all(tick == int(tick) for tick in ticks()) and any(tick != int(tick) for tick in ticks(over="minutes"))


def test_panels_beside_each_other_have_one_range_of_steps():
    canvas, early, late = Canvas(), {1: [3.0], 50: [2.0]}, {100: [2.5], 200: [1.0]}
    trial_page._figure("metric_0", "loss", {"train": {"gru": early}, "validation": {"gru": late}}).draw(canvas)
    one, other = canvas.axes
    assert one.get_xlim() == other.get_xlim() and one.get_xlim()[0] < 1 and one.get_xlim()[1] > 200


def test_one_lane_is_a_line_under_the_name_of_its_split(tmp_path):
    rows = [{"step": s, "split": k, "lane": 0, "loss": 1 / s} for s in (1, 2) for k in ("train", "validation")]
    page = trial_page.write(folder_of(tmp_path, rows)).read_text()
    assert ">validation</text>" in page and "Validation, step 2<" in page and "by lane" not in page
    assert ">one lane (one seed)</td>" in page and ">latest</td>" in page
    assert re.findall("<thead>.*?</thead>", page)[0].count("<th>") == 4
    assert "<th>evaluation</th>" in page and "<th>checkpoint</th>" in page and "<th>verdict</th>" not in page


def run_in(folder, overrides, losses, lanes=1):
    folder.mkdir(parents=True)
    config = with_overrides(Config(), {"train.lanes": lanes} | overrides)
    claim(folder, config)
    record(folder, "start")
    with Log(folder, 0) as log:
        for step, loss in enumerate(losses, 1):
            for split in ("train", "validation"):
                log.write(split, step, [{"loss": loss + lane} for lane in range(lanes)])
    return folder


def test_several_runs_are_overlaid(tmp_path):
    one = run_in(tmp_path / "a" / "gru", {"model.mixer": "gru"}, [3.0, 2.0], lanes=3)
    other = run_in(tmp_path / "lstm", {"model.mixer": "lstm", "train.seed": 7}, [4.0, 1.0, 0.5])
    (tmp_path / "none").mkdir()
    path = trial_page.overlay([one, other, tmp_path / "none"], tmp_path / "both.html")
    page = path.read_text()
    for text in (
        "gru against lstm on random_tokens",
        "gru, mean of 3 lanes",
        ">lstm</text>",
        "gru: last validation, step 2",
        "loss: 3.00 [",
        "lstm: last validation, step 3",
        "<span>loss: 0.500</span>",
        "model.mixer",
        "<td>train.seed</td>",
        "none holds no run",
    ):
        assert text in page, text
    assert "<th>evaluation</th>" in page and "<th>checkpoint</th>" not in page  # a column without a word
    assert "model.d_model" not in page and page.count("<figure") == 1
    assert not [word for word in ("src=", "@import", "<link", "<script") if word in page]
    for folder, seconds in ((one, 0.5), (other, 2.0)):
        record(folder, "end", status="done", step=3, step_seconds=seconds)
    page = trial_page.overlay([one, other], path).read_text()
    assert page.count("<figure") == 2 and "loss over training time" in page
    assert "Steps times the mean time of one (gru 0.5 s, lstm 2 s)" in page and "minutes of training" in page
    same = run_in(tmp_path / "b" / "gru", {}, [1.0])
    assert f"{one} against {same}" in trial_page.overlay([one, same], path).read_text()  # names alike: paths


def test_runs_that_cannot_be_overlaid(tmp_path):
    one = run_in(tmp_path / "one", {}, [3.0])
    with pytest.raises(ConfigError, match="one run alone is no comparison"):
        trial_page.overlay([one, one, tmp_path], tmp_path / "both.html")
    for name, overrides in {"other": {"task.name": "digits"}, "sizes": {"task.vocab_size": 12}}.items():
        other = run_in(tmp_path / name, overrides, [3.0])
        with pytest.raises(ConfigError, match=f"different tasks.*random_tokens.*one; .*{name}"):
            trial_page.overlay([one, other], tmp_path / "both.html")
    with pytest.raises(ConfigError, match="holds no run"):
        trial_page.overlay([tmp_path / "x", tmp_path / "y"], tmp_path / "both.html")
    begun = run_in(tmp_path / "begun", {}, [])
    with pytest.raises(ConfigError, match="no step was written down yet in .*begun: there is no curve to draw"):
        trial_page.overlay([one, begun], tmp_path / "new" / "both.html")
    assert not (tmp_path / "both.html").exists() and not (tmp_path / "new").exists()


def test_a_run_without_a_validation_has_a_page(tmp_path):
    page = trial_page.write(folder_of(tmp_path, [{"step": 1, "split": "train", "lane": 0, "loss": 1.0}])).read_text()
    assert "Validation, step" not in page and page.count("<figure") == 1


def test_the_page_says_what_was_trained_how_it_ended_and_which_step_is_the_best(tmp_path, monkeypatch):
    folder = run_in(tmp_path / "mine", {"model.mixer": "gru", "train.num_steps": 3}, [3.0, 1.0, 2.0])
    record(folder, "end", status="done", step=3)
    monkeypatch.setattr(trial_page.trained, "steps", lambda folder: {2: "best", 3: "latest"})
    page = trial_page.write(folder).read_text()
    assert "<h1>mine: gru on random_tokens</h1>" in page
    assert "d_model 128" in page and "num_steps 3" in page and "Finished at step 3." in page
    best, latest = (
        page.index('<span>loss: 1.00</span> </td><td class="verdict">best</td>'),
        page.index('<span>loss: 2.00</span> </td><td class="verdict">latest</td>'),
    )
    assert best < latest
