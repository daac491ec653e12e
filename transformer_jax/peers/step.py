"""A whole training step of a language model: forward, loss, backward, clipping and AdamW, ours and PyTorch's.

The parameters are ours, copied. Loss and gradients are compared before anything is timed. Both sides then train:
each step starts from the parameters that the step before it left, updated in place.

Where the difference comes from (2 cores, d_model 256, 4 layers, T 512, batch 8): the parts of ours, each alone, take
together what PyTorch's take (attention 1.1, MLP 0.9, projections 0.6 to 0.8 times). But XLA:CPU asks the system for a
step's temporaries, 520 MiB, at every call: 148,000 page faults and 0.32 s of CPU a step, where PyTorch, which takes
from its heap what it freed before, has 13,000 and 0.04 s. Where glibc keeps what is freed, ours is a tenth faster.
"""

from collections.abc import Mapping

import jax
import numpy as np

from transformer_jax import models
from transformer_jax.config import Config, ModelConfig, with_overrides
from transformer_jax.measure import memory, programs, timing
from transformer_jax.ops.losses import cross_entropy
from transformer_jax.peers.contender import Contender, version

PEERS = ("ours", "torch", "torch_compile")
PHASES = ("train",)
MIXERS = ("attention", "lstm")
ANY_VALUE = ("mixer", "attention", "num_layers", "d_model", "num_heads", "mlp_dim", "vocab_size", "max_len",
             "scan_layers")  # fmt: skip
"""Keys of the model that its copy in PyTorch follows; the others must be what they are by default."""


def build(config: Config) -> Contender:
    """The contender, on random tokens. ValueError: the copy in PyTorch would be another model."""
    if config.measure.peer == "ours":
        return _ours(config)
    refuse_other_models(config)
    from transformer_jax.peers import torch_model

    state, tokens = programs.build(with_overrides(config, {"measure.peer": "ours"})).make_args()
    compile_it = config.measure.peer == "torch_compile"
    return torch_model.build(config, torch_params(state.params, config.model), np.asarray(tokens), compile_it)


def _ours(config: Config) -> Contender:
    program, model = programs.build(config), models.build(config.model)
    state, tokens = program.make_args()
    compiled = timing.compile_program(program.fn, (state, tokens), donate=(0,))

    def step():
        nonlocal state
        state, metrics = compiled(state, tokens)
        return metrics

    def loss(params):
        loss_sum, weight = cross_entropy(model.apply(params, tokens[:, :-1]), tokens[:, 1:])
        return loss_sum / weight

    def outputs() -> dict[str, np.ndarray]:
        start, _ = program.make_args()  # `state` may have moved on, or be donated
        value, grads = jax.jit(jax.value_and_grad(loss))(start.params)
        return named(value, torch_params(grads, config.model))

    columns = {
        "compile_seconds": compiled.compile_seconds,
        "temp_bytes": memory.program_memory(compiled.program).temp_bytes,
        "library": version("jax"),
    }
    return Contender(step, outputs, columns)


def refuse_other_models(config: Config) -> None:
    """Raises ValueError for what the copy in PyTorch does not follow."""
    model, train = config.model, config.train
    default = ModelConfig()
    other = [key for key, value in vars(model).items() if key not in ANY_VALUE and value != getattr(default, key)]
    if model.mixer not in MIXERS:
        other.insert(0, "mixer")
    if other:
        said = ", ".join(f"model.{key}={getattr(model, key)}" for key in other)
        raise ValueError(f"the same model in PyTorch is not written for {said}")
    if train.schedule != "constant" or train.warmup_steps or train.micro_batches > 1:
        raise ValueError("the same step in PyTorch has a constant learning rate and no micro-batches")


def named(loss, grads: Mapping) -> dict[str, np.ndarray]:
    """What both sides are compared by."""
    return {"loss": np.asarray(loss)} | {f"gradient of {name}": np.asarray(grad) for name, grad in grads.items()}


def torch_params(params, model: ModelConfig) -> dict[str, np.ndarray]:
    """Our parameters, or their gradients, by the names and in the shapes of `torch_model.LanguageModel`."""
    params = jax.tree.map(np.asarray, params)
    named = {"token.weight": params["embedding"]["token"]["embedding"]}
    named |= _norm("norm_out", params["norm_out"]) | _dense("head", params["head"])
    for i in range(model.num_layers):
        if model.scan_layers:
            block = jax.tree.map(lambda stacked, i=i: stacked[i], params["blocks"])
        else:
            block = params[f"block_{i}"]
        one = _attention(block["mixer"]) if model.mixer == "attention" else _lstm(block["mixer"])
        for part in ("norm_mixer", "norm_mlp"):
            one |= _norm(part, block[part])
        one |= _dense("mlp.0", block["mlp"]["Dense_0"]) | _dense("mlp.2", block["mlp"]["Dense_1"])
        named |= {f"blocks.{i}.{name}": array for name, array in one.items()}
    return named


def _norm(name: str, norm) -> dict[str, np.ndarray]:
    return {f"{name}.weight": norm["scale"], f"{name}.bias": norm["bias"]}


def _dense(name: str, dense) -> dict[str, np.ndarray]:
    return {f"{name}.weight": dense["kernel"].T, f"{name}.bias": dense["bias"]}


def _attention(mixer) -> dict[str, np.ndarray]:
    """PyTorch projects queries, keys and values by one matrix."""
    projections = [mixer[name] for name in ("query", "key", "value")]
    kernels = [p["kernel"].reshape(p["kernel"].shape[0], -1).T for p in projections]
    found = {"mixer.qkv.weight": np.concatenate(kernels)}
    found["mixer.qkv.bias"] = np.concatenate([p["bias"].reshape(-1) for p in projections])
    out = mixer["out"]
    kernel = out["kernel"].reshape(-1, out["kernel"].shape[-1])
    return found | _dense("mixer.out", {"kernel": kernel, "bias": out["bias"]})


def _lstm(mixer) -> dict[str, np.ndarray]:
    return {
        "mixer.weight_ih_l0": mixer["input"]["kernel"].T,
        "mixer.bias_ih_l0": mixer["input"]["bias"],
        "mixer.weight_hh_l0": mixer["kernel"].T,
    }
