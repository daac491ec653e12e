"""A whole training step of a language model: forward, loss, backward, clipping and AdamW, ours and PyTorch's.

The parameters are ours, copied. Loss and gradients are compared before anything is timed. Both sides then train:
each step starts from the parameters that the step before it left, updated in place. Each side runs as it does in a
training: PyTorch step by step, ours several in one program, here STEPS.

Where the difference of the two comes from: docs/notes/peers.md.
"""

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax import models
from transformer_jax.config import Config, ModelConfig
from transformer_jax.measure import memory, programs, timing
from transformer_jax.measure.work import Work
from transformer_jax.peers.contender import Contender, step_outputs, version
from transformer_jax.peers.libraries import Peer

MIXERS = ("attention", "lstm")
STEPS = 4
ANY_VALUE = ("mixer", "attention", "num_layers", "d_model", "num_heads", "mlp_dim", "max_len", "scan_layers")
"""Keys of the model that its copy in PyTorch follows; the others must be what they are by default."""


def build(work: Work, peer: Peer) -> Contender:
    """The contender, on random tokens. ValueError: the copy in PyTorch would be another model."""
    if peer == "ours":
        return _ours(work)
    refuse_other_models(work.config)
    from transformer_jax.peers import torch_model

    state, tokens = programs.build(work).make_args()
    params = torch_params(state.params, work.config.model)
    return torch_model.build(work, params, np.asarray(tokens), compile_it=peer == "torch_compile")


def _ours(work: Work) -> Contender:
    program = programs.build(work)
    state, tokens = program.make_args()

    def chunk(state, batches):
        return jax.lax.scan(program.fn, state, batches)

    batches = jnp.stack([tokens] * STEPS)
    compiled = timing.compile_program(chunk, (state, batches), donate=(0,))
    loss_fn = programs.next_token_loss(models.build(work.config.model, work.shape))

    def step():
        nonlocal state
        state, metrics = compiled(state, batches)
        return metrics

    def outputs() -> dict[str, np.ndarray]:
        start, _ = program.make_args()  # `state` may have moved on, or be donated
        (value, _), grads = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(start.params, tokens, None)
        return step_outputs(value, torch_params(grads, work.config.model))

    columns = {
        "compile_seconds": compiled.compile_seconds,
        "temp_bytes": memory.program_memory(compiled.program).temp_bytes,
        "library": version("jax"),
    }
    return Contender(step, outputs, columns, STEPS)


def refuse_other_models(config: Config) -> None:
    """Raises ValueError for what the copy in PyTorch does not follow."""
    model, train = config.model, config.train
    default = ModelConfig()
    other = [key for key, value in vars(model).items() if key not in ANY_VALUE and value != getattr(default, key)]
    if model.mixer not in MIXERS:
        other.insert(0, "mixer")
    if other:
        unlike = ", ".join(f"model.{key}={getattr(model, key)}" for key in other)
        raise ValueError(f"the same model in PyTorch is not written for {unlike}")
    if train.schedule != "constant" or train.warmup_steps or train.micro_batches > 1 or train.optimizer != "adamw":
        raise ValueError("the same step in PyTorch has AdamW, a constant learning rate and no micro-batches")


def torch_params(params, model: ModelConfig) -> dict[str, np.ndarray]:
    """Our parameters, or their gradients, by the names and in the shapes of `torch_model.LanguageModel`."""
    params = jax.tree.map(np.asarray, params)
    found = {"token.weight": params["embedding"]["token"]["embedding"]}
    found |= _norm("norm_out", params["norm_out"]) | _dense("head", params["head"])
    for i in range(model.num_layers):
        if model.scan_layers:
            block = jax.tree.map(lambda stacked, i=i: stacked[i], params["blocks"])
        else:
            block = params[f"block_{i}"]
        one = {"attention": _attention, "lstm": _lstm}[model.mixer](block["mixer"])
        for part in ("norm_mixer", "norm_mlp"):
            one |= _norm(part, block[part])
        one |= _dense("mlp.0", block["mlp"]["Dense_0"]) | _dense("mlp.2", block["mlp"]["Dense_1"])
        found |= {f"blocks.{i}.{name}": array for name, array in one.items()}
    return found


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
