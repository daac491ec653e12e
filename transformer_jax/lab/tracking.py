"""Weights & Biases, where it is asked for: it is sent the numbers that metrics.jsonl has, but no events."""

import contextlib
import importlib.util
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from transformer_jax.config import Config, ConfigError, flatten
from transformer_jax.host.folders import write_whole
from transformer_jax.train.log import claim

ID = "wandb_id.txt"


def require() -> None:
    """Raises ConfigError, with the command that installs it, where wandb is not installed."""
    spec = importlib.util.find_spec("wandb")
    if spec is None or spec.origin is None:  # a folder of that name, which wandb itself makes, is found as well
        raise ConfigError("--wandb needs wandb: pip install -e '.[wandb]'")


@contextlib.contextmanager
def started(folder: Path, config: Config) -> Iterator[Callable[[dict[str, float], int], None]]:
    """Yields send(numbers, step) of the folder's W&B run, which is begun, or resumed by the id in the folder.

    WANDB_MODE, WANDB_PROJECT and other variables that wandb reads are respected. A launch that goes on from an older
    checkpoint sends some steps again. The step is therefore sent as one number among the others: wandb ignores what
    does not rise in its own count of steps.

    Raises:
      ConfigError: wandb refuses to begin, or the folder holds a run of another config.
    """
    import wandb

    claim(folder, config)  # a run of another config is refused before its W&B run is touched
    if not (folder / ID).exists():
        write_whole(folder / ID, secrets.token_hex(8))
    try:
        run = wandb.init(
            id=(folder / ID).read_text(),
            resume="allow",
            project=os.environ.get("WANDB_PROJECT", "transformer_jax"),
            name=folder.resolve().name,
            dir=str(folder),
            config=flatten(config),
        )
    except wandb.errors.Error as error:
        raise ConfigError(f"wandb does not begin: {error}") from error
    run.define_metric("*", step_metric="step")
    try:
        yield lambda numbers, step: run.log(numbers | {"step": step})
    finally:
        run.finish()
