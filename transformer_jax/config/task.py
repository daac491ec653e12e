"""What the model is given: the keys of a task with their rules."""

from dataclasses import dataclass
from typing import Literal

from transformer_jax.typed import at_least, check_types, require


@dataclass(frozen=True)
class TaskConfig:
    """What the model is given."""

    seq_len: int = 256
    """Time steps of a sequence."""
    min_len: int | None = None
    """Shortest sequence drawn, of a generated task whose lengths may differ: they are uniform in min_len .. seq_len.
    None: all have seq_len."""
    batch_size: int = 4
    """Examples of a step, over all processes together."""
    name: str = "random_tokens"
    """Which data: a key of tasks.registry.TASKS, or the name of a prepared set of the user's own."""
    vocab_size: int = 256
    """Symbols of a generated task, or the most words or subwords that a text's vocabulary may hold."""
    tokens: Literal["characters", "subwords"] = "characters"
    """What a text that is to be continued is cut into; subwords are fitted on its training part, vocab_size of them.
    Other tasks ignore it."""
    num_items: int = 8
    """What a generated task asks to remember: symbols to copy, pairs to recall."""
    horizon: int = 96
    """Steps that a forecast answers, those after the seq_len that it reads; other tasks ignore it."""
    patch_size: int | None = None
    """Side of the square patches that an image is cut into, read as a sequence; other data ignore it."""
    patch_rows: int | None = None
    """In place of patch_size: a patch is so many whole rows of the image, 1 row by row; other data ignore it."""
    pad: int = 0
    """So many black pixels are added on each side of an image; other data ignore it."""
    pixels: Literal["standardised", "unit"] = "standardised"
    """Those of images have mean 0 and deviation 1 over training images, or lie in 0 .. 1; other data ignore it."""
    permute_patches: int | None = None
    """Seed of a fixed order in which the patches of every image are read, the same in all splits and runs; None: from
    left to right and from top to bottom. Other data ignore it."""
    batch_tokens: int | None = None
    """Tokens of a batch of bucketed texts, padding included, of the longer side where there are two; a batch of short
    texts then holds more of them. None: batch_size texts."""
    bucket_lengths: tuple[int, ...] = ()
    """Texts are padded to the smallest of these that holds them, or to seq_len; one compiled program each."""
    vectors: str | None = None
    """Text file of word vectors of width d_model (word2vec's or GloVe's format), from which the embedding of a task of
    words starts."""
    freeze_vectors: bool = True
    """They stay as they are; else they are trained further. Ignored without vectors."""
    data_dir: str | None = None
    """Folder of prepared sets; None: $TFDS_DATA_DIR, or ~/.cache/transformer_jax/data."""
    workers: int = 0
    """Processes that prepare batches ahead; the order of the data does not depend on them."""

    def __post_init__(self):
        check_types(self, "task")
        for name in ("seq_len", "batch_size", "vocab_size", "num_items", "horizon"):
            at_least(self, "task", name, 1)
        for name in ("workers", "pad"):
            at_least(self, "task", name, 0)
        optional = ("min_len", 1), ("patch_size", 1), ("patch_rows", 1), ("batch_tokens", 1), ("permute_patches", 0)
        for name, least in optional:
            if getattr(self, name) is not None:
                at_least(self, "task", name, least)
        require(
            self.min_len is None or self.min_len <= self.seq_len,
            f"task.min_len={self.min_len} is more than task.seq_len={self.seq_len}, the longest sequence",
        )
        require(
            self.patch_size is None or self.patch_rows is None,
            f"task.patch_size={self.patch_size} and task.patch_rows={self.patch_rows}: patches are squares or whole"
            " rows, so set one of them (the other to none)",
        )
        object.__setattr__(self, "bucket_lengths", tuple(self.bucket_lengths))
        rising = all(a < b for a, b in zip((0, *self.bucket_lengths), self.bucket_lengths, strict=False))
        require(
            rising and all(length < self.seq_len for length in self.bucket_lengths),
            f"task.bucket_lengths={self.bucket_lengths}: must rise from above 0 to below task.seq_len={self.seq_len}"
            " (--task.bucket-lengths without a value: all are padded to task.seq_len)",
        )
