"""Sentences of film reviews, positive or negative (Stanford Sentiment Treebank; Socher et al. 2013)."""

from functools import partial

from transformer_jax.tasks import labelled

SET = "sst2"

build = partial(labelled.build, name=SET)
"""build(config, files) -> Task, as `labelled.build` says. The set has no test split."""
