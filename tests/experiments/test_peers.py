"""The experiment's sweep holds every contender where it fits, and its predictions know what each one does."""

import pytest

from transformer_jax.config import with_overrides
from transformer_jax.lab import plan
from transformer_jax.measure.closed_form import matmul_flops

MODULE = plan.load("peers").cells


def contenders(T):
    cells = [o for o in MODULE.STUDIES["attention"] if o["task.seq_len"] == T]
    return {(o["measure.peer"], o["model.attention"]) for o in cells}


def test_who_stores_scores_is_left_out_where_they_would_not_fit():
    storing = {("jax_nn", "auto"), ("linen", "auto"), ("nnx", "auto"), ("keras", "auto"), ("ours", "reference")}
    linear = {("ours", "auto"), ("ours", "blockwise"), ("torch", "auto")}
    assert contenders(8192) == linear
    assert contenders(4096) == contenders(128) == storing | linear


def test_each_recurrence_and_model_meets_its_peers():
    found = {}
    for cell in plan.plan(MODULE):
        if cell.config.measure.level == "model" or cell.config.model.mixer != "attention":
            key = cell.config.model.mixer, cell.config.measure.level, cell.config.measure.phase
            found.setdefault(key, set()).add(cell.config.measure.peer)
    layers = {(mixer, "op", phase) for mixer in ("rnn", "gru", "lstm") for phase in ("forward", "train")}
    assert {key: peers for key, peers in found.items() if key[1] == "op"} == {
        key: {"ours", "linen", "torch"} for key in layers
    }
    assert found["lstm", "model", "train"] == found["attention", "model", "train"] == {"ours", "torch", "torch_compile"}


@pytest.mark.parametrize("phase", ["forward", "train"])
def test_predictions(phase):
    attention = {"measure.level": "op", "measure.phase": phase, "task.seq_len": 4096, "task.batch_size": 1}
    causal = with_overrides(MODULE.BASE, attention)
    whole, torch, keras = (
        MODULE.predict(with_overrides(causal, changes))
        for changes in ({"model.causal": False}, {"measure.peer": "torch"}, {"measure.peer": "keras"})
    )
    assert MODULE.predict(causal)["flops"] < whole["flops"] < 2 * MODULE.predict(causal)["flops"]
    assert torch == MODULE.predict(causal) and keras["bytes"] > 10 * torch["bytes"]
    lstm = with_overrides(causal, {"model.mixer": "lstm"})
    # d_model = width: the input projection is as large as the recurrent matmul, forward and backward
    assert MODULE.predict(lstm)["flops"] == 2 * matmul_flops(MODULE.work(lstm))
