"""The leaves of a state by name: how two states differ, where each leaf is to lie, and the mean of several."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np


def name(path: tuple) -> str:
    """A path of jax.tree_util in words: "head/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def describe(tree: Any) -> dict[str, str]:
    """{"params/head/kernel": "float32[128, 65]", ...} of arrays or their shapes."""
    return {name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """What is between two descriptions, the second one the model's: missing, superfluous and of another shape."""
    kinds = {
        "missing": [name for name in wanted if name not in found],
        "not in the model": [name for name in found if name not in wanted],
        "of another shape": [
            f"{name} {found[name]}, the model has {wanted[name]}"
            for name in wanted
            if name in found and found[name] != wanted[name]
        ],
    }
    return [f"{kind}: {_first(names)}" for kind, names in kinds.items() if names]


def _first(names: list[str], shown: int = 3) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def placed(target: Any) -> Any:
    """The target with every leaf on a device of this process, where it does not say where."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def place(leaf):
        sharding = getattr(leaf, "sharding", None) or here
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(place, target)


def mean(trees: Iterable[Any]) -> Any:
    """The mean of each leaf over trees of one form (at least one), added in float64 in their order."""
    count, total = 0, 0.0
    for tree in trees:
        count += 1
        added = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
        total = added if count == 1 else jax.tree.map(np.add, total, added)
    return jax.tree.map(lambda leaf, one: jax.device_put((leaf / count).astype(one.dtype)), total, tree)
