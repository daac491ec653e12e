"""What a run compiles for an objective that judges what is written."""

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.config import TrainConfig
from transformer_jax.models import Model
from transformer_jax.tasks.task import Decoding, Objective
from transformer_jax.train import programs
from transformer_jax.train.evaluate import evaluate


def counting():
    """Says the first token of its source `params` times, then the end (1)."""

    def read(params, source_BxS, source_lengths_B, max_len):
        return source_BxS[:, 0], 0

    def extend(params, tokens_Bx1, state):
        first_B, at = state
        return jax.nn.one_hot(jnp.where(at < params, first_B, 1), 9)[:, None], (first_B, at + 1)

    return Model(None, None, None, extend, read, lambda state, rows: (state[0][rows], state[1]))


def test_the_judge_sees_what_greedy_decoding_writes_of_each_batch_and_lane():
    def judge(write, batches):
        return {"fives": float(sum((write(batch) == 5).sum() for batch in batches))}

    objective = Objective(None, judge=judge, decoding=Decoding(begin=0, end=1, max_len=4))
    run = programs.build(counting(), objective, TrainConfig())
    batches = [{"source": np.array([[5, 6], [7, 5]]), "source_lengths": np.array([2, 1])},
               {"source": np.array([[5]]), "source_lengths": np.array([1])}]  # fmt: skip
    found = run.write(2, batches[0]["source"], batches[0]["source_lengths"])
    assert found.tolist() == [[5, 5, 1, 1], [7, 7, 1, 1]]
    assert run.judge(2, batches) == {"fives": 4.0} and run.judge(9, batches) == {"fives": 6.0}
    run = run._replace(evaluate=lambda params, batch: {"loss": (np.ones(2), np.ones(2))})
    lanes = evaluate(run, np.array([1, 2]), batches, objective)
    assert lanes == [{"loss": 1.0, "fives": 2.0}, {"loss": 1.0, "fives": 4.0}]


def test_without_decoding_there_is_nothing_to_write():
    run = programs.build(counting(), Objective(None), TrainConfig())
    assert run.write is None and run.judge is None


def test_lanes_of_one_seed_begin_alike_and_rates_and_steps_are_no_constants_of_the_program():
    def loss(outputs, batch):
        total = jnp.sum((outputs - batch["inputs"]) ** 2), jnp.float32(batch["inputs"].size)
        return total, {}

    def train(**fields):
        model = Model(lambda key: {"kernel": jax.random.normal(key, (3,))},
                      lambda params, inputs, **_: params["kernel"] + 0 * inputs, None, None)  # fmt: skip
        fields |= {"seed": 7, "lanes": 2, "schedule": "cosine"}
        return programs.build(model, Objective(loss), TrainConfig(**fields))

    one = train(lane_lrs=(0.1, 0.2), same_seed=True, num_steps=4)
    other = train(lane_lrs=(0.3, 0.1), num_steps=9)
    batches = {"inputs": np.ones((2, 2, 5, 3), np.float32)}  # steps, lanes, B
    kernels = [np.asarray(run.init().params["kernel"]) for run in (one, other)]
    np.testing.assert_array_equal(kernels[0], np.stack([kernels[1][0]] * 2))
    assert not np.array_equal(*kernels[1])
    texts = [run.run_chunk.lower(run.init(), batches).as_text() for run in (one, other)]
    assert texts[0] == texts[1]
    after, metrics = one.run_chunk(one.init(), batches)
    assert not np.array_equal(*after.params["kernel"]) and metrics["loss"][0].shape == (2, 2)
    longer = train(lane_lrs=(0.1, 0.2), same_seed=True, num_steps=9)  # it has the rates of its own schedule
    assert not np.array_equal(after.params["kernel"], longer.run_chunk(longer.init(), batches)[0].params["kernel"])
    assert programs.lane_seeds(TrainConfig(seed=7, lanes=2, lane_lrs=(0.1, 0.2), same_seed=True)) == [7, 7]
    assert programs.lane_seeds(TrainConfig(seed=7, lanes=2)) == [7, 8]
