"""One cache of compiled programs for every process, kept from run to run."""

import os
from pathlib import Path

_KEEP_ALL = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # by default what compiles within a second is not kept
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def environment() -> dict[str, str]:
    """The environment variables that give a new process the cache; a folder that the user has named stays."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transformer_jax" / "xla"
    return {"JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(folder)} | _KEEP_ALL


def use_cache() -> None:
    """Gives the cache to this process, in which jax may be loaded already; a folder that it has stays."""
    import jax

    found = environment()
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", found["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
