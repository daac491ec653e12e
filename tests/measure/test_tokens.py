"""The batch of a step follows from its tokens and its length, however the config came about."""

from dataclasses import dataclass, field, replace

import pytest

from transformer_jax.config import ConfigError, MeasureConfig, TaskConfig, with_overrides
from transformer_jax.measure.tokens import OfTokens


@dataclass(frozen=True)
class Axes(MeasureConfig):
    tokens: int = 24


@dataclass(frozen=True)
class Config(OfTokens):
    measure: Axes = field(default_factory=Axes)


def test_the_batch_is_the_tokens_over_the_length():
    config = Config(task=TaskConfig(seq_len=8, batch_size=7))
    assert config.task == TaskConfig(seq_len=8, batch_size=3)
    assert with_overrides(config, {"task.seq_len": 12}).task.batch_size == 2
    assert replace(config, measure=Axes(tokens=8)).task.batch_size == 1


@pytest.mark.parametrize(
    ("tokens", "message"), [(0, "tokens=0: must be at least 1"), (20, "tokens=20 is no multiple of task.seq_len=8")]
)
def test_what_no_batch_gives_is_refused(tokens, message):
    with pytest.raises(ConfigError, match=message):
        Config(task=TaskConfig(seq_len=8), measure=Axes(tokens=tokens))
