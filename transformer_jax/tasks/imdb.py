"""IMDB reviews, positive or negative: words of a vocabulary fitted on the training split, bucketed by length."""

import hashlib
from functools import partial

import numpy as np

from transformer_jax.tasks import labelled
from transformer_jax.tasks.labelled import Texts, split_words

SET = "imdb_reviews"
VALIDATE_ONE_IN = 10
OPENING = 20  # words


def read(builder, split: str) -> Texts:
    """The reviews of a split. A tenth of the published training reviews validates, by the hash of their first words,
    so that reviews that were sent in twice do not straddle. 123 reviews of the published test split also occur in its
    training split; they stay."""
    if split == "test":
        return labelled.texts_of(builder, split)
    train, validation = split_by_content(labelled.texts_of(builder, "train"))
    return train if split == "train" else validation


build = partial(labelled.build, name=SET, read=read)
"""build(config, files) -> Task, as `labelled.build` says."""


def split_by_content(reviews: Texts) -> tuple[Texts, Texts]:
    """(train, validation); texts that begin with the same words always fall on the same side.

    The whole text would not do: some reviews were sent in twice, the second time a little changed.
    """
    openings = [" ".join(split_words(text[:400])[:OPENING]) for text in reviews.texts]
    digests = [hashlib.sha256(opening.encode()).digest() for opening in openings]
    held_out_N = np.array([int.from_bytes(digest[:8], "big") % VALIDATE_ONE_IN == 0 for digest in digests])
    parts = (np.flatnonzero(~held_out_N), np.flatnonzero(held_out_N))
    train, validation = (Texts(*([column[i] for i in p] for column in reviews)) for p in parts)
    return train, validation
