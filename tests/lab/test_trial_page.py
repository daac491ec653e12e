"""run.html: whole, escaped, and without a network."""

import json

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


def test_an_extension_stands_above_all_else_and_once(tmp_path):
    claim(tmp_path, Config())
    record(tmp_path, "start")
    for _ in range(2):  # a launch that was killed before its first checkpoint finds it again
        record(tmp_path, "extended", step=2, before=2, num_steps=4, text="extended from 2 to 4 steps: cosine")
    with Log(tmp_path, 0) as log:
        log.write("train", 2, [{"loss": 1.0}])
    text = trial_page.write(tmp_path).read_text()
    assert text.count('<p class="warning">This run was extended from 2 to 4 steps: cosine.</p>') == 1
