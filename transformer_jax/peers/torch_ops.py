"""PyTorch's attention and recurrences on the CPU, with as many threads as the process may use cores.

Imported only when a PyTorch contender is built: nothing else of the package needs torch.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from transformer_jax.host import cores
from transformer_jax.peers.contender import Contender, layer_outputs, version

torch.set_num_threads(cores.count())


def tensor(array) -> torch.Tensor:
    """A tensor of its own memory, so that nothing of JAX is ever written to."""
    return torch.from_numpy(np.array(array))


def eager(run: Callable, read: Callable[[], Mapping]) -> Contender:
    """PyTorch computes as it is called, and on the CPU has finished when the call returns: there is nothing to wait
    for, and nothing is compiled."""
    return Contender(lambda: (run(), None)[1], read, {"compile_seconds": None, "library": version("torch")})


def attention(arrays: Sequence[jax.Array], causal: bool, train: bool) -> Contender:
    """`scaled_dot_product_attention` on contiguous (B, H, T, Dh); arrays are q, k, v and d_out as (B, T, H, Dh)."""
    q, k, v, d_out = (tensor(array).transpose(1, 2).contiguous() for array in arrays)

    def forward():
        with torch.inference_mode():
            return (F.scaled_dot_product_attention(q, k, v, is_causal=causal),)

    def forward_and_backward():
        inputs = [x.requires_grad_() for x in (q, k, v)]
        out = F.scaled_dot_product_attention(*inputs, is_causal=causal)
        return out, *torch.autograd.grad(out, inputs, d_out)

    run = forward_and_backward if train else forward

    def read():
        results = [result.detach().transpose(1, 2).numpy() for result in run()]
        return dict(zip(("out", "dq", "dk", "dv"), results, strict=False))

    return eager(run, read)


def recurrence(mixer: str, x, params: Mapping, d_h, train: bool) -> Contender:
    """`nn.RNN`, `nn.GRU` or `nn.LSTM` on (T, B, D), their default layout."""
    layer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[mixer]
    layer = layer(params["kernel"].shape[0], params["recurrent"].shape[0])
    _copy(params, layer)
    x, d_h = (tensor(array).transpose(0, 1).contiguous() for array in (x, d_h))

    def forward():
        with torch.inference_mode():
            return (layer(x)[0],)

    def forward_and_backward():
        h = layer(x.requires_grad_())[0]
        return h, *torch.autograd.grad(h, (x, *layer.parameters()), d_h)

    def read():
        h, *grads = (forward_and_backward if train else forward)()
        h = h.detach().transpose(0, 1).numpy()
        if not train:
            return {"h": h}
        dx, kernel, recurrent, bias, hidden_bias = (grad.numpy() for grad in grads)
        found = {"kernel": kernel.T, "bias": bias, "recurrent": recurrent.T}
        if mixer == "gru":
            found["candidate_bias"] = hidden_bias[-len(hidden_bias) // 3 :]
        return layer_outputs(h, dx.swapaxes(0, 1), found)

    return eager(forward_and_backward if train else forward, read)


def _copy(params: Mapping, layer: nn.RNNBase) -> None:
    """Our parameters into a PyTorch layer, whose second bias stays zero but for the GRU's candidate."""
    with torch.no_grad():
        layer.weight_ih_l0.copy_(tensor(params["kernel"]).T)
        layer.weight_hh_l0.copy_(tensor(params["recurrent"]).T)
        layer.bias_ih_l0.copy_(tensor(params["bias"]))
        layer.bias_hh_l0.zero_()
        if "candidate_bias" in params:
            bias = tensor(params["candidate_bias"])
            layer.bias_hh_l0[-len(bias) :] = bias
