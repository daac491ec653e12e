"""Parts of a network, chosen by the paths of the parameter tree: which parameters a penalty protects."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.config import ConfigError, nearest
from transformer_jax.train.leaves import name

PARTS: dict[str, tuple[str, ...]] = {
    "all": ("",),
    "mixer": ("mixer",),
    "query_key": ("mixer/query", "mixer/key"),
    "value_out": ("mixer/value", "mixer/out"),
    "mlp": ("mlp",),
    "embeddings": ("embedding",),
    "head": ("head",),
}
"""By name what a path has in it, whole words between slashes. The output projection of a recurrence is no part of
value_out: without keys there are no values."""


def mask(params: Any, part: str) -> Any:
    """A tree of the parameters' form: 1 where they are of the part, 0 elsewhere.

    Args:
      part: a name of PARTS, or a piece of paths, mlp/Dense_0 say.

    Raises:
      ConfigError: no parameter is of the part; those that there are are named.
    """
    chosen = {path for path in _paths(params) if _within(path, part, _paths(params))}
    if not chosen:
        raise ConfigError(f"continual.part={part} matches no parameter: {_known(params, part)}")
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full_like(leaf, float(name(path) in chosen), jnp.float32), params
    )


def subset(params: Any, count: int, seed: int) -> Any:
    """A tree of the parameters' form: 1 at `count` single parameters drawn at random from all, 0 elsewhere."""
    leaves, tree = jax.tree.flatten(params)
    sizes = [leaf.size for leaf in leaves]
    chosen = np.zeros(sum(sizes), np.float32)
    chosen[np.random.default_rng(seed).permutation(len(chosen))[:count]] = 1
    parts = np.split(chosen, np.cumsum(sizes)[:-1])
    return jax.tree.unflatten(tree, [jnp.asarray(p.reshape(leaf.shape)) for p, leaf in zip(parts, leaves, strict=True)])


def size(chosen: Any) -> int:
    """How many single parameters a mask holds."""
    return int(sum(np.asarray(leaf).sum() for leaf in jax.tree.leaves(chosen)))


def there(params: Any) -> list[str]:
    """The names of PARTS that have parameters."""
    paths = _paths(params)
    return [part for part in PARTS if any(_within(path, part, paths) for path in paths)]


def _paths(params: Any) -> list[str]:
    return [name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def _within(path: str, part: str, paths: list[str]) -> bool:
    if part == "value_out" and not any("/mixer/value/" in other for other in paths):
        return False
    return part == "all" or any(f"/{piece}/" in f"/{path}/" for piece in PARTS.get(part, (part,)) if piece)


def _known(params: Any, part: str) -> str:
    pieces = sorted({path.rpartition("/")[0].partition("/")[2] or path.rpartition("/")[0] for path in _paths(params)})
    near = nearest(part, [*PARTS]) if part not in PARTS else ""
    meant = near if "did you mean" in near else ""
    return (
        f"the parts there are {', '.join(there(params))}, or pieces of paths: {', '.join(filter(None, pieces))}{meant}"
    )
