"""A rate is chosen on a seed of its own, by the task's metric; then others train at it, and go on after a kill."""

import math

import numpy as np
import pytest

from transformer_jax.config import Config, ConfigError, ModelConfig, TaskConfig, TrainConfig, with_overrides
from transformer_jax.lab import trained, training, trial, tuned
from transformer_jax.tasks import associative_recall
from transformer_jax.train.log import read_config

CONFIG = Config(
    model=ModelConfig(d_model=8, num_heads=2, num_layers=1, mlp_dim=8, max_len=16),
    task=TaskConfig(name="associative_recall", vocab_size=16, num_items=2, seq_len=8, batch_size=4),
    train=TrainConfig(num_steps=12, chunk_steps=2, eval_every=4, checkpoint_every=4, lanes=3, seed=40),
)
RATES = (1e-4, 1e-2, 1e-3)


def recall(config=CONFIG):
    return associative_recall.build(config)


def curves(monkeypatch, **by_folder):
    """Makes `trial.curve` give what is planted: {folder's name: [(step, lane, metrics)]}; nothing is trained."""
    ran = []
    monkeypatch.setattr(trial, "train", lambda config, task, folder, **options: ran.append((config, folder)))
    rows = {name: [{"step": s, "lane": n} | m for s, n, m in found] for name, found in by_folder.items()}
    monkeypatch.setattr(trial, "curve", lambda folder, split: rows.get(folder.name, []))
    return ran


def test_lanes_that_differ_in_rate_alone_come_first_and_then_the_runs_own_at_the_best(tmp_path):
    found = tuned.train(CONFIG, recall(), tmp_path, RATES)
    rates, seeds = (read_config(tmp_path / name).train for name in ("rates", "seeds"))
    assert rates.lane_lrs == (1e-4, 1e-3, 1e-2) and rates.same_seed and rates.seed == 40 + tuned.APART
    assert (seeds.seed, seeds.lanes, seeds.lane_lrs, seeds.same_seed) == (40, 3, (), False)
    assert rates.nan_policy == seeds.nan_policy == "skip" and rates.num_steps == seeds.num_steps == 12
    first = [row for row in trial.curve(tmp_path / "rates", "train") if row["step"] == 2]
    assert len({row["loss"] for row in first}) == 3 and np.ptp([row["loss"] for row in first]) < 0.05
    last = {row["lane"]: row["loss"] for row in trial.curve(tmp_path / "rates", "validation") if row["step"] == 12}
    assert found.tried == {rate: last[lane] for lane, rate in enumerate(sorted(RATES))}
    assert found.rate == seeds.peak_lr == min(found.tried, key=found.tried.get) and found.folder == tmp_path / "seeds"
    assert found.columns == {"rate": found.rate, "rate_at_edge": found.rate != 1e-3}
    run = trained.restored(found.folder, associative_recall.build, "latest")
    assert run.step == 12 and len(run.metrics(run.task.evaluate("test"))) == 3
    assert training.stage(tmp_path) == (12, 12, "3 seeds")  # what is shown meanwhile knows the phase by the folder
    assert training.stage(tmp_path / "rates") == (12, 12, "choosing the rate")


def test_what_is_broken_off_goes_on_to_the_same_end(tmp_path, monkeypatch):
    whole = tuned.train(CONFIG, recall(), tmp_path / "whole", RATES)
    train = trial.train
    for broken_off in ("rates", "seeds"):

        class Broken(trial.Progress):
            def advance(self, step, lanes):
                super().advance(step, lanes)
                if step == 6:
                    raise KeyboardInterrupt

        def until_broken(config, task, folder, place=broken_off, progress=Broken, **options):
            return train(config, task, folder, progress=progress() if folder.name == place else None, **options)

        with monkeypatch.context() as power_cut, pytest.raises(KeyboardInterrupt):
            power_cut.setattr(trial, "train", until_broken)
            tuned.train(CONFIG, recall(), tmp_path / "broken", RATES)
    again = tuned.train(CONFIG, recall(), tmp_path / "broken", RATES)
    assert again.tried == whole.tried and again.rate == whole.rate
    for name in ("rates", "seeds"):
        files = [(tmp_path / place / name / "metrics.jsonl").read_bytes() for place in ("whole", "broken")]
        assert files[0] == files[1]


def test_the_second_training_ends_when_every_lane_is_there_and_stays_ended(tmp_path):
    options = {"steps": 4, "there": lambda row: row["step"] >= 4 + 4 * (row["lane"] == 1), "stop": True}
    found = tuned.train(CONFIG, recall(), tmp_path, RATES, **options)
    assert read_config(tmp_path / "rates").train.num_steps == 4
    assert max(row["step"] for row in trial.curve(found.folder, "validation")) == 8
    assert found.first(options["there"]) == {0: 4, 1: 8, 2: 4}
    before = (found.folder / "metrics.jsonl").read_bytes()
    assert tuned.train(CONFIG, recall(), tmp_path, RATES, **options) == found
    assert (found.folder / "metrics.jsonl").read_bytes() == before


def test_the_best_is_what_the_task_says_is_best(tmp_path, monkeypatch):
    last = [(8, 0, {"loss": 1.0, "accuracy": 0.9}), (8, 1, {"loss": 0.5, "accuracy": 0.4}),
            (8, 2, {"loss": 0.7, "accuracy": 0.3})]  # fmt: skip
    ran = curves(monkeypatch, rates=[(4, 2, {"loss": 0.1, "accuracy": 1.0}), *last])
    found = tuned.train(CONFIG, recall(), tmp_path, RATES)
    assert (found.rate, found.at_edge, found.tried) == (1e-3, False, {1e-4: 1.0, 1e-3: 0.5, 1e-2: 0.7})
    assert [folder.name for _, folder in ran] == ["rates", "seeds"]
    found = tuned.train(with_overrides(CONFIG, {"train.best": "accuracy"}), recall(), tmp_path, RATES)
    assert (found.rate, found.at_edge) == (1e-4, True)


def test_where_a_result_is_how_soon_the_best_is_the_soonest(tmp_path, monkeypatch):
    planted = {1e-4: [0.1, 0.98, 1.0, 1.0], 1e-3: [0.1, 0.99, 0.8, 0.999], 1e-2: [0.2, 0.99, 1.0, 0.9]}
    rows = [
        (4 * i, lane, {"accuracy": of[i], "loss": 1 - of[i]})
        for i in range(4)
        for lane, of in enumerate(planted.values())
    ]

    def chosen(level, rows=rows, **options):
        ran = curves(monkeypatch, rates=rows)
        found = tuned.train(CONFIG, recall(), tmp_path, RATES, there=lambda row: row["accuracy"] >= level, **options)
        assert [config.train.peak_lr for config, folder in ran if folder.name == "seeds"] == [found.rate]
        return found.rate

    assert chosen(0.99) == 1e-3  # as soon as the largest, and better in the end
    assert chosen(0.2) == 1e-2  # alone there at once
    assert chosen(0.995) == 1e-4  # at step 8, as soon as the largest, and better in the end
    assert chosen(1.1) == 1e-4  # none is: the best in the end
    broken = [(step, lane, m | ({"loss": math.nan} if (step, lane) == (12, 1) else {})) for step, lane, m in rows]
    assert chosen(0.99, broken) == 1e-2  # that was there, but ends without a number


def test_a_rate_at_which_the_loss_is_no_number_is_not_chosen(tmp_path, monkeypatch):
    curves(monkeypatch, rates=[(8, 0, {"loss": 2.0}), (8, 1, {"loss": math.nan}), (8, 2, {"loss": math.inf})])
    found = tuned.train(CONFIG, recall(), tmp_path, RATES)
    assert found.rate == 1e-4 and math.isnan(found.tried[1e-3])
    curves(monkeypatch)
    assert tuned.train(CONFIG, recall(), tmp_path, RATES).rate == 1e-4


def test_a_lane_whose_loss_is_no_number_ends_no_other(tmp_path):
    """One of its batches has a weight that is not a number."""
    task, streams = recall(), []

    def train(seed):
        stream = task.train(seed)

        class Poisoned:
            get_state, set_state = stream.get_state, stream.set_state

            def __next__(self):
                batch = next(stream)
                return batch if seed != 41 else batch | {"weights": batch["weights"] * np.nan}

        streams.append(seed)
        return Poisoned()

    found = tuned.train(CONFIG, task._replace(train=train), tmp_path, RATES)
    assert streams == [40 + tuned.APART] * 3 + [40, 41, 42]
    rows = trial.curve(found.folder, "validation")
    assert [row["lane"] for row in rows if row["step"] == 12] == [0, 1, 2]
    poisoned = [row["loss"] for row in rows if row["lane"] == 1]
    assert len(set(poisoned)) == 1  # nothing was learned of such batches
    assert len({row["loss"] for row in rows if row["lane"] != 1}) == 6


def test_where_a_metric_fell_to_a_level_is_interpolated(tmp_path, monkeypatch):
    losses = {0: [3.0, 2.5, 1.5, 2.2], 1: [1.9, 2.5, 1.0, 1.0], 2: [3.0, 2.5, 2.1, 2.1], 3: [3.0, math.nan, 1.0, 1.0],
              4: [math.nan, 2.0, 1.0, 1.0]}  # fmt: skip
    rows = [(10 * (i + 1), n, {"loss": loss[i]}) for i in range(4) for n, loss in losses.items()]
    curves(monkeypatch, seeds=rows)
    found = tuned.Tuned(tmp_path / "seeds", 1e-3, False, {})
    assert found.fell_to("loss", 2.0) == pytest.approx({0: 25.0, 1: 10.0, 3: 20.0, 4: 20.0})
    assert found.first(lambda row: row["loss"] <= 2.0) == {0: 30, 1: 10, 3: 30, 4: 20}


def test_a_choice_takes_two(tmp_path):
    with pytest.raises(ConfigError, match=r"a rate is chosen among at least two, not \[0.01\]"):
        tuned.train(CONFIG, recall(), tmp_path, (0.01, 0.01))
