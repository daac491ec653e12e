"""One answer to where a program runs, for attention and for the recurrences."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from transformer_jax.ops import attention, linear_recurrence
from transformer_jax.ops.cudnn import lstm_cudnn
from transformer_jax.ops.devices import platform

HALF = jax.ShapeDtypeStruct((1, 128, 2, 64), jnp.bfloat16)


def traced_for(name):
    return use_abstract_mesh(AbstractMesh((), (), abstract_device=AbstractDevice(name, 1, name)))


def assert_amd():
    assert platform() == "rocm" and attention.choose(HALF, HALF) == "blockwise"
    assert attention.refusal("cudnn", HALF, HALF) == "it needs an NVIDIA GPU, this is rocm"
    with pytest.raises(ValueError, match="needs an NVIDIA GPU .* this is rocm"):
        lstm_cudnn(None, None, None, None)


def test_amd_is_not_nvidia(monkeypatch):
    with traced_for("rocm"):
        assert_amd()
    client = SimpleNamespace(platform_version="PJRT C API\nrocm 60300")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda name: [SimpleNamespace(client=client)])
    assert_amd()
    client.platform_version = "PJRT C API\ncuda 12090"
    assert platform() == "gpu" and attention.choose(HALF, HALF) == "cudnn"


def test_recurrences_follow_the_device_that_is_traced_for():
    with traced_for("cuda"):
        assert platform() == "gpu" and linear_recurrence.picked() == "associative"
    with jax.default_device(jax.devices("cpu")[0]):
        assert platform() == "cpu" and linear_recurrence.picked() == "sequential"
