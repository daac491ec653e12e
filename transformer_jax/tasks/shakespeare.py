"""Characters of tiny Shakespeare: random windows to train on, the last tenth of the text to validate on."""

from functools import partial

from transformer_jax.tasks import text

SET = "tiny_shakespeare"
# The catalogue cuts the text 90/5/5; the figures that everybody compares with (nanoGPT) cut it 90/10. The
# catalogue's validation and test are thus the two halves of the usual validation text; no test text is left.
PARTS = {"train": ("train",), "validation": ("validation", "test")}

build = partial(text.build, name=SET, parts=PARTS)
"""build(config, files) -> Task, as `text.build` says."""
