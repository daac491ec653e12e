"""Characters of tiny Shakespeare: random windows to train on, the last tenth of the text to validate on."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape
from transformer_jax.tasks import objectives, sets, stream
from transformer_jax.tasks.task import Batch, Task, check_split

SET = "tiny_shakespeare"
# The catalogue cuts the text 90/5/5; the figures that everybody compares with (nanoGPT) cut it 90/10. The
# catalogue's validation and test are thus the two halves of the usual validation text; no test text is left.
PARTS = {"train": ("train",), "validation": ("validation", "test")}


def build(config: Config) -> Task:
    """A causal character model's data, of windows of `task.seq_len`.

    Raises:
      MissingData: the set is not prepared.
      ConfigError: seq_len does not fit into the text.
    """
    task = config.task
    builder = sets.open_set(SET, sets.data_dir(task))
    texts = {name: "".join(_text(builder, part) for part in parts) for name, parts in PARTS.items()}
    symbols = sorted(set(texts["train"]))
    encode = make_encode(symbols)
    ids = {name: encode(text) for name, text in texts.items()}
    for name, found in ids.items():
        if len(found) <= task.seq_len:
            raise ConfigError(f"task.seq_len={task.seq_len}: the {name} text has {len(found)} characters")

    rows = stream.process_rows(task.batch_size)

    def batch(seed: int, step: int) -> Batch:
        starts = np.random.default_rng((seed, step)).integers(0, len(ids["train"]) - task.seq_len, task.batch_size)
        return windows(ids["train"], starts[rows], task.seq_len)

    def evaluate(split: str) -> Iterator[Batch]:
        """Windows side by side: every character but the first is a target once."""
        check_split(task.name, split, PARTS)
        count = -(-(len(ids[split]) - 1) // task.seq_len)
        return stream.one_pass(count, lambda i: windows(ids[split], i * task.seq_len, task.seq_len), task.batch_size)

    return Task(
        name=task.name,
        shape=Shape(task.seq_len, len(symbols), vocab_size=len(symbols)),
        objective=objectives.cross_entropy(config.train.label_smoothing),
        train=lambda seed: stream.steps(partial(batch, seed), task.workers),
        evaluate=evaluate,
        next_token=True,
        encode=encode,
        decode=lambda found: "".join(symbols[i] for i in found),
        describe=lambda: sets.describe(builder, {name: len(text) for name, text in texts.items()}),
    )


def windows(ids_N: np.ndarray, starts_B: np.ndarray, length: int) -> Batch:
    """Inputs ids[i : i+T] and targets ids[i+1 : i+T+1]; past the end of the text the weight is 0."""
    places = starts_B[:, None] + np.arange(length + 1)
    tokens = ids_N[np.minimum(places, len(ids_N) - 1)].astype(np.int32)
    weights = (places[:, 1:] < len(ids_N)).astype(np.float32)
    return {"inputs": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights}


def make_encode(symbols: Iterable[str]):
    """str -> int32 ids by place in `symbols`; an unknown character raises ValueError naming it."""
    place = {symbol: i for i, symbol in enumerate(symbols)}

    def encode(text: str) -> np.ndarray:
        try:
            return np.fromiter((place[c] for c in text), np.int32, len(text))
        except KeyError as error:
            raise ValueError(f"the character {error.args[0]!r} does not occur in the training text") from None

    return encode


def _text(builder, split: str) -> str:
    return "".join(record["text"].decode() for record in sets.records(builder, split))
