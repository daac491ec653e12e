"""run.html: whole, escaped, and without a network."""

import json
import re

from transformer_jax.config import Config
from transformer_jax.lab import trial_page
from transformer_jax.train.log import Log, claim, record


def test_the_page_is_escaped_and_needs_no_network(tmp_path):
    folder = tmp_path / "<script>alert(1)<"
    claim(folder, Config())
    record(folder, "start", note="<script>")
    with Log(folder, 0) as log:
        log.write("train", 2, [{"loss": 1.0}])
        log.write("train", 4, [{"loss": 0.5}])
        log.write("validation", 4, [{"loss": 0.7}])
    text = trial_page.write(folder).read_text()
    assert "<script" not in text and "<svg" in text and "0.7" in text
    assert not [word for word in ("src=", "@import", "<link") if word in text]
    assert json.loads((folder / "launches.jsonl").read_text())["kind"] == "start"


def test_exposure_and_an_interval_are_drawn_as_such(tmp_path):
    claim(tmp_path, Config())
    with Log(tmp_path, 0) as log:
        for step, bleu in ((2, 20.0), (4, 31.5)):
            log.write("train", step, [{"loss": 1.0, "accuracy": 0.5}])
            judged = {"bleu": bleu, "bleu_low": bleu - 2, "bleu_high": bleu + 3, "free_accuracy": 0.25}
            log.write("validation", step, [{"loss": 1.5, "accuracy": 0.4} | judged])
    rows = trial_page._measured(tmp_path)
    assert trial_page._between(rows, "bleu") == {2: (18.0, 23.0), 4: (29.5, 34.5)}
    assert trial_page._between(rows, "loss") == {}
    text = trial_page.write(tmp_path).read_text()
    headings = re.findall(r"<h3>([^<]*)", text)
    assert headings[0].startswith("Exposure: after the right tokens, and after its own")
    assert headings[1:] == ["loss", "accuracy", "bleu"]
    assert "free-running: after its own" in text and "29.5" in text and "34.5" in text  # the answer's interval
    without = [{k: v for k, v in row.items() if k != "accuracy"} for row in rows]
    assert trial_page._exposure(without) == []


def test_an_extension_stands_above_all_else_and_once(tmp_path):
    claim(tmp_path, Config())
    record(tmp_path, "start")
    for _ in range(2):  # a launch that was killed before its first checkpoint finds it again
        record(tmp_path, "extended", step=2, before=2, num_steps=4, text="extended from 2 to 4 steps: cosine")
    with Log(tmp_path, 0) as log:
        log.write("train", 2, [{"loss": 1.0}])
    text = trial_page.write(tmp_path).read_text()
    assert text.count('<p class="warning">This run was extended from 2 to 4 steps: cosine.</p>') == 1
    record(tmp_path, "start", step=0)  # its checkpoints were gone
    assert "This run was extended" not in trial_page.write(tmp_path).read_text()


def test_octaves_of_distance_stand_by_their_number():
    row = {"step": 1, "lane": 0, "accuracy_16_31": 0.1, "accuracy_2_3": 0.5, "accuracy": 0.3, "loss": 1.0}
    assert trial_page._names([row]) == ["loss", "accuracy", "accuracy_2_3", "accuracy_16_31"]


def test_a_batch_is_named_as_it_is_made():
    by_rows, by_tokens = ({"task.batch_size": 4, "task.batch_tokens": n} for n in (None, 2500))
    assert trial_page._setting(by_rows, []) == "batch_size 4."
    assert trial_page._setting(by_tokens, []) == "batch_tokens 2500."
