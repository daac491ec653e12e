"""The same language model in PyTorch: pre-norm blocks around attention or an LSTM, trained by AdamW on the CPU.

Written as a PyTorch user would for speed: one projection for queries, keys and values, the fused attention and the
fused AdamW. Imported only when it is measured.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from transformer_jax.config import ModelConfig, Shape, TrainConfig
from transformer_jax.measure.timing import Clock
from transformer_jax.measure.work import Work
from transformer_jax.ops.positions import sinusoidal
from transformer_jax.peers.contender import Contender, step_outputs, version
from transformer_jax.peers.torch_ops import tensor

# B batch, L steps, D d_model, H heads, Dh head_dim


class Attention(nn.Module):
    """Causal self-attention, x_BxLxD -> y_BxLxD."""

    def __init__(self, d_model: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x_BxLxD):
        B, L, D = x_BxLxD.shape
        q, k, v = self.qkv(x_BxLxD).view(B, L, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        out_BxHxLxDh = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(out_BxHxLxDh.transpose(1, 2).reshape(B, L, D))


class Lstm(nn.LSTM):
    """x_BxLxD -> h_BxLxD; the second bias, which our layer does not have, is zero and not trained."""

    def __init__(self, d_model: int):
        super().__init__(d_model, d_model, batch_first=True)
        nn.init.zeros_(self.bias_hh_l0)
        self.bias_hh_l0.requires_grad_(False)

    def forward(self, x_BxLxD):
        return super().forward(x_BxLxD)[0]


MIXERS = {
    "attention": lambda model: Attention(model.d_model, model.num_heads),
    "lstm": lambda model: Lstm(model.d_model),
}


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, model: ModelConfig):
        super().__init__()
        D = model.d_model
        self.norm_mixer, self.norm_mlp = nn.LayerNorm(D, eps=1e-6), nn.LayerNorm(D, eps=1e-6)
        self.mixer = MIXERS[model.mixer](model)
        self.mlp = nn.Sequential(
            nn.Linear(D, model.mlp_width), nn.GELU(approximate="tanh"), nn.Linear(model.mlp_width, D)
        )

    def forward(self, x_BxLxD):
        x_BxLxD = x_BxLxD + self.mixer(self.norm_mixer(x_BxLxD))
        return x_BxLxD + self.mlp(self.norm_mlp(x_BxLxD))


class LanguageModel(nn.Module):
    """tokens_BxL+1 -> mean cross-entropy of the next token."""

    def __init__(self, model: ModelConfig, shape: Shape):
        super().__init__()
        D = model.d_model
        self.token, self.scale = nn.Embedding(shape.vocab_size, D), D**0.5
        added = model.positions == "sinusoidal"  # recurrences, which know the order, have none
        positions = tensor(sinusoidal(jnp.arange(shape.seq_len), D)) if added else None
        self.register_buffer("positions", positions, persistent=False)
        self.blocks = nn.Sequential(*(Block(model) for _ in range(model.num_layers)))
        self.norm_out, self.head = nn.LayerNorm(D, eps=1e-6), nn.Linear(D, shape.outputs)

    def forward(self, tokens):
        x_BxLxD = self.token(tokens[:, :-1]) * self.scale
        if self.positions is not None:
            x_BxLxD = x_BxLxD + self.positions
        logits = self.head(self.norm_out(self.blocks(x_BxLxD)))
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def build(work: Work, params: Mapping[str, np.ndarray], tokens: np.ndarray, compile_it: bool) -> Contender:
    """A training step from these parameters; outputs are the loss and the gradients before the first update.

    `torch.compile` takes the model and its loss; compile_seconds is then the first forward and backward pass.
    RuntimeError: the parameters do not fit the model; whatever `torch.compile` raises where it has no compiler.
    """
    model = LanguageModel(work.config.model, work.shape)
    missing, unexpected = model.load_state_dict({name: tensor(array) for name, array in params.items()}, strict=False)
    if unexpected or any(not name.endswith("bias_hh_l0") for name in missing):
        raise RuntimeError(f"the parameters of the two models differ: {missing + unexpected}")
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer, loss_of = _optimizer(work.config.train, trained), torch.compile(model) if compile_it else model
    tokens, clock = tensor(tokens).long(), Clock()

    def backward() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(tokens)
        loss.backward()
        return loss

    def step() -> torch.Tensor:
        loss = backward()
        nn.utils.clip_grad_norm_(trained.values(), work.config.train.clip_norm)
        optimizer.step()
        return loss.detach()

    start = clock.now()
    loss = backward()
    seconds = (clock.now() - start) / 1e9
    found = step_outputs(loss.detach(), {name: parameter.grad.numpy().copy() for name, parameter in trained.items()})
    columns = {"compile_seconds": seconds if compile_it else None, "library": version("torch")}
    return Contender(step, lambda: found, columns)


def _optimizer(config: TrainConfig, trained: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW as `train.optimizer` has it: matrices decay, biases and norms do not."""
    groups = [
        {"params": [p for p in trained.values() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained.values() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.peak_lr, betas=(0.9, config.beta2), eps=1e-8, fused=True)
