"""Several programs timed in turns."""

from transformer_jax.config import Config, ModelConfig, TaskConfig
from transformer_jax.measure import in_turns, timing
from transformer_jax.measure.work import Work, next_token


def test_a_sample_of_each_in_every_turn(monkeypatch):
    config = Config(
        model=ModelConfig(d_model=8, num_heads=2, num_layers=1, mlp_dim=8),
        task=TaskConfig(seq_len=6, batch_size=2, vocab_size=5),
    )
    order, sample = [], timing.Timer.__call__

    def noted(self):
        order.append(self)
        return sample(self)

    monkeypatch.setattr(timing.Timer, "__call__", noted)
    works = {"": Work(config, next_token(config)), "forward_": Work(config, next_token(config), phase="forward")}
    found = in_turns.step_seconds(works, 3, 1e-4)
    assert len(found) == 3 and len(order) == 6 and len(set(map(id, order))) == 2
    assert order[0::2] == [order[0]] * 3 and order[1::2] == [order[1]] * 3
    names = {"device", "compile_seconds", "compile_cached", "step_seconds"}
    names |= {f"forward_{name}" for name in names - {"device"}}
    assert all(row.keys() == names and row["step_seconds"] > 0 < row["forward_step_seconds"] for row in found)
    assert len({row["step_seconds"] for row in found}) > 1 and len({row["compile_seconds"] for row in found}) == 1
