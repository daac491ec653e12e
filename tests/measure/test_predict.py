"""A plan's predictions rank cells as the facts do: they need not be right, only not mislead."""

from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

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


def test_what_cannot_run_on_this_platform_says_why():
    with traced_for("cpu"):
        assert "needs an NVIDIA GPU" in of(model__attention="cudnn")["refusal"]
        assert "needs a TPU" in of(model__attention="splash")["refusal"]
        assert "needs an NVIDIA GPU" in of(model__mixer="lstm", model__recurrence="cudnn")["refusal"]
        for phase, mixer in (("train", "attention"), ("decode", "attention"), ("train", "lstm")):
            assert "refusal" not in of(phase, model__mixer=mixer)
        assert "refusal" not in of("decode", model__attention="cudnn")  # a step has a form of its own
        assert "refusal" not in of(model__mixer="gru", model__attention="cudnn")  # which it does not read
    with traced_for("cuda"):
        assert "refusal" not in of(model__attention="cudnn", model__dtype="bfloat16")
        assert "not float32" in of(model__attention="cudnn")["refusal"]


def traced_for(name):
    return use_abstract_mesh(AbstractMesh((), (), abstract_device=AbstractDevice(name, 1, name)))
