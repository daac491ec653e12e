"""run.html: a training's curves, last validation, config and launches on the kit's page."""

import json

from transformer_jax.lab import trial_page


def folder_of(folder, rows):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.json").write_text(json.dumps({"model.mixer": "<script>alert(1)</script>"}))
    (folder / "launches.jsonl").write_text('{"kind": "start", "time": "2026-01-01", "versions": {"jax": "0.10"}}\n')
    return folder


def test_every_metric_is_a_figure_with_a_line_for_each_split_and_lane(tmp_path):
    rows = [{"step": 10, "event": "nan"}]
    for step in (20, 40):
        for lane in (0, 1):
            rows.append({"step": step, "split": "train", "lane": lane, "loss": 1 / step, "grad_norm": None})
            rows.append({"step": step, "split": "validation", "lane": lane, "loss": 2 / step, "accuracy": 0.5})
    page = trial_page.write(folder_of(tmp_path, rows)).read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    for text in (
        "train, lane 1",
        "validation",
        "Last validation, step 40, lane 1",
        "loss 0.05, accuracy 0.5",
        "2026-01-01",
    ):
        assert text in page
    assert page.count("<figure") == 2  # no value of grad_norm was finite


def test_a_run_without_a_validation_has_a_page(tmp_path):
    page = trial_page.write(folder_of(tmp_path, [{"step": 1, "split": "train", "lane": 0, "loss": 1.0}])).read_text()
    assert "Last validation" not in page and page.count("<figure") == 1
