"""What a traced program knows of its devices: their platform, and over which of a mesh's axes its arrays vary."""

import jax


def platform() -> str:
    """What the program is traced for: "cpu", "gpu" (NVIDIA), "rocm" (AMD) or "tpu".

    The abstract device of `jax.sharding.use_abstract_mesh` counts first (to compile for an absent device), then
    `jax.default_device`, then the default backend.
    """
    abstract = jax.sharding.get_abstract_mesh().abstract_device
    device = abstract or jax.config.jax_default_device
    name = getattr(device, "platform", device) or jax.default_backend()
    if name == "gpu" and not abstract:  # what JAX calls either maker's; only the client tells them apart
        return "rocm" if "rocm" in jax.devices("gpu")[0].client.platform_version else "gpu"
    return "gpu" if name == "cuda" else name


def vary_alike(tree):
    """The same arrays, inside `jax.shard_map` each varying over every mesh axis that one of them varies over.

    A loop's carry and a custom gradient do not promote replicated arrays by themselves, as JAX's operators do. The
    transpose sums over these axes: the gradient of a replicated weight is that of all shards. Elsewhere: no change.
    """
    varying = lambda x: jax.typeof(x).manual_axis_type.varying  # noqa: E731
    axes = frozenset().union(*map(varying, jax.tree.leaves(tree)))
    return jax.tree.map(lambda x: jax.lax.pcast(x, tuple(axes - varying(x)), to="varying"), tree)
