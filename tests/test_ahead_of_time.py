"""What a TPU would run, compiled for one that is absent: kernels, and whole steps. Needs libtpu, from `.[tpu]`."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import AbstractDevice, AbstractMesh, SingleDeviceSharding, use_abstract_mesh

from configs import bench_accelerator
from transformer_jax.config import Config, ModelConfig, TaskConfig, with_overrides
from transformer_jax.measure import programs
from transformer_jax.measure.work import Work, next_token
from transformer_jax.ops.attention import ATTENTION

pytestmark = pytest.mark.slow
pytest.importorskip("libtpu", reason="compiling for a TPU needs libtpu: pip install -e '.[tpu]'")
BASE = Config(
    ModelConfig(d_model=256, num_heads=4, num_layers=2), TaskConfig(seq_len=256, batch_size=4, vocab_size=128)
)


@pytest.fixture(scope="module")
def v5e(compilation_cache_in):
    """A topology's first device; without a TPU's machine around it, libtpu asks for one on the network."""
    with pytest.MonkeyPatch.context() as patch, compilation_cache_in(None):
        patch.setenv("TPU_SKIP_MDS_QUERY", "1")
        patch.setenv("TPU_ACCELERATOR_TYPE", "v5litepod-4")
        patch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
        patch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # of several test processes
        yield topologies.get_topology_desc("v5e:2x2", platform="tpu").devices[0]


@pytest.fixture
def compiled(v5e):
    def compile_for_it(fn, *args):
        here = SingleDeviceSharding(v5e)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), args)
        with use_abstract_mesh(AbstractMesh((), (), abstract_device=AbstractDevice(v5e.device_kind, 1, "tpu"))):
            return jax.jit(fn).lower(*shapes).compile()

    return compile_for_it


def attention_training(name, T, dtype=jnp.bfloat16, **arguments):
    """Output and gradients, and the shapes of what they need: 4 query heads of width 64 over 2 key heads."""
    shapes = [jax.ShapeDtypeStruct((2, T, heads, 64), dtype) for heads in (4, 2, 2, 4)]

    def train(q, k, v, d_out):
        out, pull = jax.vjp(lambda *x: ATTENTION[name](*x, **arguments), q, k, v)
        return out, pull(d_out)

    return train, *shapes


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("arguments", [{"causal": True}, {}, {"causal": True, "window": 100}])
@pytest.mark.parametrize("name", ["splash", "blockwise"])
def test_attention(compiled, name, arguments, dtype):
    """At a length that is no multiple of a kernel's block."""
    program = compiled(*attention_training(name, 300, dtype, **arguments))
    assert ("tpu_custom_call" in program.as_text()) == (name == "splash")


@pytest.mark.parametrize(("name", "by_kernel"), [("auto", True), ("reference", False), ("xla", False)])
def test_auto_takes_the_kernel(compiled, name, by_kernel):
    program = compiled(*attention_training(name, 256, causal=True))
    assert ("tpu_custom_call" in program.as_text()) == by_kernel


@pytest.mark.parametrize("name", ["splash", "blockwise"])
def test_no_scores_are_stored(compiled, name):
    """Those of T = 16,384 alone would be 4 GiB."""
    program = compiled(*attention_training(name, 16384, causal=True))
    assert program.memory_analysis().temp_size_in_bytes < 2**28
    x = jax.ShapeDtypeStruct((1, 4096, 8, 64), jnp.float32)
    program = compiled(lambda *x: jax.vjp(lambda *x: ATTENTION[name](*x, causal=True), *x[:3])[1](x[3]), x, x, x, x)
    assert program.memory_analysis().temp_size_in_bytes <= 2**25


@pytest.mark.parametrize("width", [16, 80, 256])
def test_splash_at_other_widths(compiled, width):
    """Blocks of 512 fit the memory of a core, in float32 at the widest heads that are common."""
    x = jax.ShapeDtypeStruct((1, 1024, 2, width), jnp.float32)
    compiled(lambda *x: jax.vjp(lambda *x: ATTENTION["splash"](*x, causal=True), *x[:3])[1](x[3]), x, x, x, x)


@pytest.mark.parametrize("form", ["sequential", "chunked", "associative"])
def test_a_linear_recurrence(compiled, form):
    assert_compiles(compiled, {"model.mixer": "min_gru", "model.recurrence": form}, level="op")


@pytest.mark.parametrize("mixer", ["attention", "rnn", "gru", "lstm", "min_gru"])
@pytest.mark.parametrize("phase", ["train", "decode"])
def test_whole_models(compiled, mixer, phase):
    assert_compiles(compiled, {"model.mixer": mixer, "model.dtype": "bfloat16"}, phase=phase)


def test_a_training_step_at_the_size_of_an_accelerator(compiled):
    program = programs.build(Work(bench_accelerator.CONFIG, next_token(bench_accelerator.CONFIG)))
    assert compiled(program.fn, *jax.eval_shape(program.make_args)).memory_analysis().temp_size_in_bytes < 2**34


def assert_compiles(compiled, overrides, **what):
    program = programs.build(Work(with_overrides(BASE, overrides), next_token(BASE), **what))
    analysis = compiled(program.fn, *jax.eval_shape(program.make_args)).memory_analysis()
    assert analysis.argument_size_in_bytes > 0 and analysis.output_size_in_bytes > 0
