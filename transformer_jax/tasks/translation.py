"""Translation: prepared sentence pairs as subwords of one vocabulary for both languages."""

import hashlib
from functools import cache
from itertools import chain

from transformer_jax.config import Config, Shape
from transformer_jax.tasks import pairs, place, sets, tokenizer
from transformer_jax.tasks.task import Files, Outline, Split, Task

COLUMNS = ("source", "target")
"""The texts of a set that `prepare parallel` made, of the user's own sentence pairs."""
MULTI30K = {"multi30k_en_fr": ("en", "fr"), "multi30k_en_de": ("en", "de")}
FILE = "tokenizer.json"


def build(config: Config, files: Files = (), *, name: str | None = None, columns: tuple[str, str] = COLUMNS) -> Task:
    """Sentences of up to `task.seq_len` subwords, the end included, of up to `task.vocab_size` kinds.

    The subwords are those of the training split, of both languages together; a run keeps them as tokenizer.json.

    Args:
      files: what a run keeps: its subwords then are the task's, and the set is opened where its texts are asked for.
      name: of the prepared set; None: that of the task.
      columns: the set's texts that are source and target.

    Raises:
      ConfigError: vocab_size is too small.
      MissingData: the set is not prepared; later, if a split is asked for that the set was made without.
    """

    @cache
    def opened():
        return sets.open_set(name or config.task.name, place.data_dir(config.task))

    @cache
    def read(split: Split) -> pairs.Texts:
        found = sets.records(opened(), split)
        return [tuple(record[column].decode() for column in columns) for record in found]

    if kept := dict(files).get(FILE):
        codec = tokenizer.load(kept)
    else:
        sources, targets = zip(*read("train"), strict=True)
        codec = tokenizer.train(chain(sources, targets), config.task.vocab_size)

    def describe() -> dict:
        builder = opened()
        about = sets.describe(builder, {split: part.num_examples for split, part in builder.info.splits.items()})
        return about | {"sha256": about["sha256"] | {FILE: hashlib.sha256(codec.json).hexdigest()}}

    return pairs.build(config, codec, codec, read, describe, {FILE: codec.json})


def outline(config: Config) -> Outline:
    """As if the training texts had all the subwords that the config asks for."""
    length, size = config.task.seq_len, config.task.vocab_size
    problem = tokenizer.refusal(size)
    shape = Shape(length, size, vocab_size=size, source_len=length, source_vocab_size=size)
    return Outline(shape, next_token=True, problems=(problem,) if problem else ())
