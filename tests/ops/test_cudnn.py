"""cuDNN's LSTM: its packed weights through JAX's own reference, its refusals, and on a GPU its numbers."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn
from jax.interpreters import mlir
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from transformer_jax.ops.cudnn import lstm_cudnn, packed
from transformer_jax.ops.recurrence import project_and_recur

B, T, D, R = 2, 6, 3, 5


def arguments():
    random = np.random.default_rng(0)
    shapes = (B, T, D), ((D, 4 * R), (4 * R,)), ((R, 4 * R),), ((B, R), (B, R))
    is_shape = lambda s: isinstance(s[0], int)  # noqa: E731
    return jax.tree.map(lambda s: random.normal(size=s).astype(np.float32), shapes, is_leaf=is_shape)


def test_packed_weights_are_those_of_jaxs_reference():
    inputs, projection, weights, (h, c) = arguments()
    unpacked = rnn.unpack_lstm_weights(packed(projection, weights), D, R, 1, False)
    lengths = jnp.full((B,), T, jnp.int32)
    y, h_n, c_n = rnn.lstm_ref(inputs, h[None], c[None], *unpacked, lengths, D, R, 1, 0.0, False)
    expected, last = project_and_recur("lstm", inputs, projection, weights, (h, c))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((h_n[0], c_n[0]), last, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="cuDNN runs here")
def test_says_why_it_cannot_run():
    with pytest.raises(ValueError, match="needs an NVIDIA GPU and JAX's CUDA plugin; this is"):
        lstm_cudnn(*arguments())


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="cuDNN runs here")
def test_lowers_with_its_gradient(monkeypatch):
    """As far as a machine without a GPU goes: cuDNN's answers (sizes of its buffers, its descriptor) are stood in."""
    library = SimpleNamespace(build_rnn_descriptor=lambda *sizes: b"descriptor")
    sizes = lambda *config: (8, 16)  # noqa: E731
    monkeypatch.setattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes", sizes, raising=False)
    for primitive, rule in ((rnn.rnn_fwd_p, "_rnn_fwd_lowering"), (rnn.rnn_bwd_p, "_rnn_bwd_lowering")):
        mlir.register_lowering(primitive, partial(getattr(rnn.gpu_rnn, rule), library, "cu"), platform="cuda")

    def train(*args):
        return jax.grad(lambda *args: lstm_cudnn(*args)[0].sum(), argnums=(0, 1, 2, 3))(*args)

    with use_abstract_mesh(AbstractMesh((), (), abstract_device=AbstractDevice("cuda", 1, "cuda"))):
        text = jax.jit(train).trace(*arguments()).lower(lowering_platforms=("cuda",)).as_text()
    assert "cudnn_rnn_ffi" in text and "cudnn_rnn_bwd_ffi" in text


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
def test_equals_the_loop_with_its_gradients():
    def loss(recur, *args):
        h, (h_last, c_last) = recur(*args)
        return jnp.sum(h * jnp.cos(jnp.arange(h.size).reshape(h.shape))) + h_last.sum() + 2 * c_last.sum()

    loop = lambda *args: project_and_recur("lstm", *args)  # noqa: E731
    for f in (loss, jax.grad(loss, argnums=(1, 2, 3, 4))):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
            f(lstm_cudnn, *arguments()),
            f(loop, *arguments()),
        )
