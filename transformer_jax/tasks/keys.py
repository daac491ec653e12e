"""Which optional keys of a config each task reads, so that one that changes nothing is refused; loads no jax."""

from collections.abc import Iterable
from dataclasses import fields

from transformer_jax.config import ConfigError, TaskConfig
from transformer_jax.tasks import place

BY_ALL = ("name", "seq_len", "batch_size", "workers")
"""seq_len too where the data decide the length: it must be within model.max_len."""
BUCKETS = ("batch_tokens", "bucket_lengths")
WORDS = ("vocab_size", *BUCKETS, "vectors", "freeze_vectors", "data_dir")
PATCHES = ("patch_size", "patch_rows", "permute_patches", "pad", "pixels")
KINDS: dict[str, tuple[str, ...]] = {
    "parallel": ("vocab_size", *BUCKETS, "data_dir"),
    "text": ("vocab_size", "tokens", "data_dir"),
    "labelled": WORDS,
    "series": ("horizon", "data_dir"),
}
"""The keys of TaskConfig that tasks on the user's own sets read, by the kind of set."""
TASKS: dict[str, tuple[str, ...]] = {
    "random_tokens": ("vocab_size",),
    "copy_memory": ("vocab_size", "num_items"),
    "selective_copying": ("vocab_size", "num_items"),
    "associative_recall": ("vocab_size", "num_items"),
    "adding": (),
    "parity": ("min_len",),
    "parity_end": ("min_len",),
    "even_pairs": ("min_len",),
    "cycle_navigation": ("min_len",),
    "s5_words": ("min_len",),
    "listops": ("min_len",),
    "shapes_1d": (),
    "number_words": (),
    "number_words_fr": (),
    "reversal": ("vocab_size", *BUCKETS),
    "numbers_en_fr": BUCKETS,
    "sine_trend": ("horizon",),
    "ett_h1": KINDS["series"],
    "digits": PATCHES,
    "mnist": (*PATCHES, "data_dir"),
    "cifar10": (*PATCHES, "data_dir"),
    "cifar10_jpg_small": (*PATCHES, "data_dir"),
    "imdb": WORDS,
    "sst2": WORDS,
    "shakespeare_char": KINDS["text"],
    "multi30k_en_fr": KINDS["parallel"],
    "multi30k_en_de": KINDS["parallel"],
}
"""Those of the other tasks, by name."""
FORECAST = ("model.patch_len", "model.patch_stride")
"""Keys of the model that a forecast alone reads."""


def own_kind(task: TaskConfig) -> str | None:
    """The kind of set of the user's own that a task is; None: it is another task, or no such set is there."""
    found = None if task.name in TASKS else place.own(task.name, place.data_dir(task))
    return found and found[0]


def like(name: str) -> str | None:
    """The kind of sets of the user's own that are read as the task of that name is; None: none is."""
    return next((kind for kind, read in KINDS.items() if TASKS.get(name) == read), None)


def require_read(task: TaskConfig, given: Iterable[str]) -> None:
    """Checks that a task reads the keys that a user gives, as dotted names; a name that nobody knows reads all.

    Raises:
      ConfigError: a key that the task does not read, with those that it does.
    """
    read = TASKS.get(task.name) if (kind := own_kind(task)) is None else KINDS[kind]
    if read is None:
        return
    of_task = tuple(f"task.{field.name}" for field in fields(TaskConfig))
    known = {f"task.{name}" for name in (*BY_ALL, *read)} | ({*FORECAST} if "horizon" in read else set())
    for key in given:
        if key in (*of_task, *FORECAST) and key not in known:
            named = ", ".join(sorted(known - {"task.name"}))
            raise ConfigError(f"{key}: the task {task.name} does not read it; it reads {named}")
