"""A plan's predictions rank cells as the facts do: they need not be right, only not mislead."""

from transformer_jax.config import Config, with_overrides
from transformer_jax.measure.predict import predict
from transformer_jax.measure.work import Work, next_token


def of(phase="train", **overrides):
    config = with_overrides(Config(), {key.replace("__", "."): value for key, value in overrides.items()})
    return predict(Work(config, next_token(config), phase=phase))


def test_stored_scores_grow_with_the_square():
    one, two = (of(model__attention="reference", task__seq_len=T)["bytes"] for T in (8192, 16384))
    assert 3.8 < two / one < 4
    one, two = (of(model__attention="blockwise", task__seq_len=T)["bytes"] for T in (8192, 16384))
    assert 1.8 < two / one < 2


def test_training_costs_more_than_a_forward_pass_and_a_forward_pass_more_than_a_token():
    for mixer in ("attention", "lstm", "min_gru"):
        costs = [of(phase, model__mixer=mixer) for phase in ("decode", "forward", "train")]
        for name in ("flops", "bytes", "seconds"):
            assert costs[0][name] < costs[1][name] < costs[2][name]


def test_a_recurrence_pays_for_every_step():
    flat = of(model__mixer="min_gru", task__seq_len=4096)["seconds"]
    assert of(model__mixer="rnn", task__seq_len=4096)["seconds"] > flat
