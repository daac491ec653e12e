"""The devices that JAX finds, or one clear error."""

import os
from importlib import metadata


class DeviceError(OSError):
    """JAX finds no device of the kind that was asked for."""


def require() -> list:
    """The devices of this process.

    Raises:
      DeviceError: there are none: JAX_PLATFORMS asks for a kind that is not here or not installed for.
    """
    import jax

    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter is how jax finds that no plugin was there to try
        reason = str(error).partition("\n")[0] or f"no plugin for it is installed beside jax {metadata.version('jax')}"
        raise DeviceError(
            f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: JAX finds no such device ({reason}); unset it to run"
            " on what is here, or pip install -e '.[cuda12]' or '.[tpu]' on a machine that has one"
        ) from None
