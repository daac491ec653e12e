"""Settings of every test process; they must stand before jax is imported."""

import contextlib
import gc
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


def pytest_configure(config):
    """What one test compiled, the others, their subprocesses and later sessions take from one folder."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("compiled")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def pytest_collection_finish():
    """Tracing makes so many objects that a tenth of a test's work was looking for garbage among them."""
    gc.collect()
    gc.freeze()  # what the imports made stays
    gc.set_threshold(50_000, 20, 10)


# What takes long may be the machine's other work, or a first example that compiles.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@contextlib.contextmanager
def _compilation_cache_in(folder):
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    settings = {
        "jax_compilation_cache_dir": folder and str(folder),
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
    """`with compilation_cache_in(folder):` keeps what is compiled in that folder; None: all is compiled anew."""
    return _compilation_cache_in
