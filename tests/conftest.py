"""Settings of every test process; they must stand before jax is imported."""

import contextlib
import os
from importlib.metadata import version

import pytest
from hypothesis import settings

# Tests compile hundreds of tiny programs and run each once: compiling them three times as fast is worth slow code.
# XLA_FLAGS="" in the environment gives the code that users get.
QUICK_TO_COMPILE = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",  # one module of LLVM, not one per thread
]
if version("jaxlib").startswith("0.10."):  # straight to LLVM, not by way of MLIR; a later XLA has no such flag
    QUICK_TO_COMPILE += ["--xla_cpu_use_fusion_emitters=false"]
os.environ.setdefault("XLA_FLAGS", " ".join(QUICK_TO_COMPILE))

# What takes long may be the machine's other work, or a first example that compiles.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@contextlib.contextmanager
def _compilation_cache_in(folder):
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}

    def use(values):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()

    use(settings)
    try:
        yield
    finally:
        use(before)


@pytest.fixture(scope="session")
def compilation_cache_in():
    """`with compilation_cache_in(folder):` keeps what is compiled, however quickly, in that folder."""
    return _compilation_cache_in
