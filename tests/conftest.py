"""Settings of every test process; they must stand before jax is imported."""

import os

# Tests compile hundreds of tiny programs and run each once: compiling them twice as fast is worth slow code.
# XLA_FLAGS="" in the environment gives the code that users get.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
