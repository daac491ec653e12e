"""Runs that several files only read: each is trained once a session, when it is first asked for."""

from functools import cache

import pytest

from transformer_jax.cli import main

SIZES = ["--model.d-model", 8, "--model.num-layers", 1, "--model.mlp-dim", 8, "--train.num-steps", 2]
REVERSAL = ["--task.name", "reversal", "--task.seq-len", 7, "--task.vocab-size", 24, "--task.batch-size", 250]
LEARNED = [*REVERSAL, "--model.position", "learned"]
RECALL = ["--task.name", "associative_recall", "--task.num-items", 2, "--task.vocab-size", 16, "--task.seq-len", 8]
RUNS = {
    "one": LEARNED,
    "other": [*LEARNED, "--train.seed", 1],
    "twin": [*REVERSAL, "--model.mixer", "gru"],
    "recall": RECALL,
}


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """trained_run(name) -> the folder of that run: a translation, the same from another seed, its recurrent twin, or a
    run without text. All of them lie in one folder; a test writes nothing there."""
    folder = tmp_path_factory.mktemp("runs")

    @cache
    def train(name):
        words = ["train", "bench", "--out", folder / name, *RUNS[name], *SIZES]
        assert main.main([str(word) for word in words]) == 0
        return folder / name

    return train
