"""Windows of a text, the 90/10 split, characters to ids and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.config import ConfigError, Shape
from transformer_jax.tasks import registry, text


@given(length=st.integers(2, 40), width=st.integers(1, 12), data=st.data())
def test_windows_show_each_character_and_ask_for_the_next(length, width, data):
    ids = np.arange(100, 100 + length)
    starts = np.array(data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=5)))
    batch = text.windows(ids, starts, width)
    for row, start in enumerate(starts):
        for t in range(width):
            inside = start + t + 1 < length
            assert batch["weights"][row, t] == inside
            if inside:
                assert batch["inputs"][row, t] == ids[start + t]
                assert batch["targets"][row, t] == ids[start + t + 1]


@pytest.fixture
def task(made, shakespeare_files, config_of):
    made("tiny_shakespeare", shakespeare_files)
    return registry.build(config_of("shakespeare_char", seq_len=11, batch_size=3))


def test_what_was_known_of_it_before_its_data_were_read(task, config_of):
    shape, next_token, problems = registry.TASKS[task.name].outline(config_of(task.name, seq_len=11))
    assert (shape.seq_len, shape.pooled, next_token, problems) == (11, task.shape.pooled, task.next_token, ())


def test_the_first_nine_tenths_train_and_all_the_rest_validates(task, shakespeare_files):
    whole = (shakespeare_files / "input.txt").read_text()
    cut = int(len(whole) * 0.9)
    assert task.describe()["counts"] == {"train": cut, "validation": len(whole) - cut}
    expected = {"train": whole[:cut], "validation": whole[cut:]}
    for split, part in expected.items():
        batches = list(task.evaluate(split))
        targets = np.concatenate([b["targets"][b["weights"] > 0] for b in batches])
        assert task.decode(targets) == part[1:]  # every character but the first, once, in order
        assert {b["inputs"].shape for b in batches} == {(3, 11)}
        assert task.decode(batches[0]["inputs"][0]) == part[:11]


def test_training_windows_come_from_the_training_text(task, shakespeare_files):
    whole = (shakespeare_files / "input.txt").read_text()
    train = whole[: int(len(whole) * 0.9)]
    stream = task.train(0)
    for _ in range(20):
        batch = next(stream)
        assert batch["weights"].all()
        for inputs, targets in zip(batch["inputs"], batch["targets"], strict=True):
            window = task.decode(inputs) + task.decode(targets[-1:])
            assert window in train and task.decode(targets) == window[1:]


def test_state_resumes_exactly(task):
    stream, again = task.train(2), task.train(2)
    for _ in range(5):
        next(stream)
    again.set_state(stream.get_state())
    for _ in range(3):
        np.testing.assert_array_equal(next(stream)["inputs"], next(again)["inputs"])


def test_text_to_ids_and_back(task):
    assert task.decode(task.encode("says the clerk.\n")) == "says the clerk.\n"
    assert task.encode("").shape == (0,) and task.encode("a").dtype == np.int32
    assert task.shape.vocab_size == len(set(task.decode(range(task.shape.vocab_size))))
    with pytest.raises(ValueError, match="'§' does not occur in the training text"):
        task.encode("a§")


def test_there_is_no_test_split(task):
    with pytest.raises(ValueError, match="no split 'test'; it has: train, validation"):
        task.evaluate("test")


def test_a_window_longer_than_the_text_is_refused(made, shakespeare_files, config_of):
    made("tiny_shakespeare", shakespeare_files)
    with pytest.raises(ConfigError, match="task.seq_len=999: the validation text has"):
        registry.build(config_of("shakespeare_char", seq_len=999))


def test_the_real_text(made, real, config_of):
    made("tiny_shakespeare", real("tiny_shakespeare"))
    task = registry.build(config_of("shakespeare_char", seq_len=64, batch_size=12))
    assert task.shape == Shape(64, 65, vocab_size=65)
    assert task.describe()["counts"] == {"train": 1_003_854, "validation": 111_540}
    assert sum(b["weights"].sum() for b in task.evaluate("validation")) == 111_539
