"""As many tokens in every step: the batch follows from the length."""

from dataclasses import dataclass, replace

from transformer_jax.config import Config
from transformer_jax.typed import at_least, require


@dataclass(frozen=True)
class OfTokens(Config):
    """A config whose `measure.tokens`, over `task.seq_len`, are its `task.batch_size`, whatever that was.

    Raises:
      ConfigError: fewer than one token, or no multiple of the length.
    """

    def __post_init__(self):
        at_least(self.measure, "measure", "tokens", 1)
        batch_size, rest = divmod(self.measure.tokens, self.task.seq_len)
        require(rest == 0, f"measure.tokens={self.measure.tokens} is no multiple of task.seq_len={self.task.seq_len}")
        object.__setattr__(self, "task", replace(self.task, batch_size=batch_size))
        super().__post_init__()
