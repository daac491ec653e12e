"""Word vectors of a task as the first value of a model's token embedding."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from transformer_jax.config import ConfigError
from transformer_jax.tasks.task import Vectors

LEAF = "embedding/token/embedding"
"""Where a model's parameters hold a row for each token."""


def check(vectors: Vectors | None, d_model: int) -> None:
    """Raises ConfigError where there are vectors and they are not of the model's width, or as their file's reader."""
    if vectors is not None and (width := vectors.table_VxW.shape[1]) != d_model:
        raise ConfigError(
            f"task.vectors={vectors.path} has vectors of {width} numbers, and model.d_model={d_model}: the widths must"
            f" be equal (--model.d-model {width})"
        )


def placed(params: Any, vectors: Vectors | None) -> Any:
    """New parameters, perhaps with an axis of lanes, whose embedding gives each word its vector.

    The embedding multiplies its rows by sqrt(d_model) (`layers/embedding.py`): a row is the vector divided by it.
    """
    if vectors is None:
        return params
    *path, last = LEAF.split("/")
    whole = params = _copied(params)
    for key in path:
        params = params[key]
    table_VxD = vectors.table_VxW
    rows_VxD = (table_VxD / np.sqrt(table_VxD.shape[1])).astype(np.float32)
    params[last] = jnp.broadcast_to(jnp.asarray(rows_VxD, params[last].dtype), params[last].shape)
    return whole


def _copied(tree: Any) -> Any:
    return {key: _copied(one) for key, one in tree.items()} if isinstance(tree, dict) else tree


def check_same(meta: dict, vectors: Vectors | None) -> None:
    """Raises ConfigError where a checkpoint's run began with another content of the file. meta: what lies beside it."""
    if meta and vectors is not None and meta.get("vectors") != (now := vectors.sha256):
        raise ConfigError(
            f"task.vectors={vectors.path} was changed since this run began: its SHA-256 was {meta.get('vectors')}"
            f" and is {now}; restore the file, or choose another --out"
        )
