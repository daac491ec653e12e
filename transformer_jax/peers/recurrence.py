"""A recurrent layer, input projection included, as each library offers it: rnn, gru and lstm.

Ours is the large projection and the scan, `ops.recurrence.project_and_recur`. Each peer gets its parameters in its
own tree and its arrays in its own layout, made before the clock runs: (B, T, D) for us and Flax, (T, B, D) for
PyTorch. Training is one forward and one backward pass, with the gradients of the input and of every parameter.
"""

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.measure.work import Work
from transformer_jax.ops.recurrence import RECURRENCE, initial_carry, project_and_recur
from transformer_jax.peers.contender import Contender, compiled, layer_outputs, normal
from transformer_jax.peers.libraries import Peer

GATES = {"rnn": ("",), "gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o")}
"""Flax's names of the gates, in our order."""


def build(work: Work, peer: Peer) -> Contender:
    """The contender on random arrays of the config's sizes. ValueError: a mixer that the peers do not have."""
    mixer, train = work.config.model.mixer, work.phase == "train"
    if mixer not in GATES:
        raise ValueError(f"only {', '.join(GATES)} have peers, not {mixer}")
    x, params, d_h = _arrays(work)
    if peer == "torch":
        from transformer_jax.peers import torch_ops

        return torch_ops.recurrence(mixer, x, params, d_h, train)
    own = peer == "ours"
    apply = _ours(mixer) if own else _linen(mixer, d_h.shape[-1])
    tree = params if own else to_linen(mixer, params)

    def forward(x, tree, d_h):
        return apply(x, tree)

    def forward_and_backward(x, tree, d_h):
        h, pullback = jax.vjp(apply, x, tree)
        return h, *pullback(d_h)

    def read(result) -> dict[str, np.ndarray]:
        if not train:
            return {"h": np.asarray(result)}
        h, dx, grads = result
        return layer_outputs(h, dx, grads if own else from_linen(mixer, grads))

    library = "jax" if own else "flax"
    return compiled(forward_and_backward if train else forward, (x, tree, d_h), read, library)


def _arrays(work: Work):
    """x (B, T, D), the parameters in our layout, and the gradient of h (B, T, R)."""
    model, (B, T), seed = work.config.model, (work.batch_size, work.steps), work.config.train.seed
    D, R = model.d_model, model.sizes["width"]
    G = RECURRENCE[model.mixer].num_gates * R
    params = {
        "kernel": normal(seed, 2, (D, G), D**-0.5),
        "bias": normal(seed, 3, (G,)),
        "recurrent": normal(seed, 4, (R, G), R**-0.5),
    }
    if model.mixer == "gru":
        params["candidate_bias"] = normal(seed, 5, (R,))
    return normal(seed, 0, (B, T, D)), params, normal(seed, 1, (B, T, R))


def _ours(mixer: str):
    def apply(x, params):
        weights = (params["recurrent"], *(params[name] for name in ("candidate_bias",) if name in params))
        carry = initial_carry(mixer, x.shape[0], params["recurrent"].shape[0], x.dtype)
        return project_and_recur(mixer, x, (params["kernel"], params["bias"]), weights, carry)[0]

    return apply


def _linen(mixer: str, width: int):
    """`nn.RNN` over the cell that Flax recommends, with its defaults."""
    import flax.linen as nn

    cell = {"rnn": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}[mixer]
    layer = nn.RNN(cell(width))

    def apply(x, params):
        return layer.apply({"params": params}, x)

    return apply


def to_linen(mixer: str, params) -> dict:
    """Our parameters as Flax's cell keeps them: a matrix for each gate, the LSTM's bias on the recurrent side."""
    gates = GATES[mixer]
    kernels, biases, recurrents = (
        jnp.split(params[name], len(gates), axis=-1) for name in ("kernel", "bias", "recurrent")
    )
    cell = {}
    for gate, kernel, bias, recurrent in zip(gates, kernels, biases, recurrents, strict=True):
        cell[f"i{gate}"], cell[f"h{gate}"] = {"kernel": kernel}, {"kernel": recurrent}
        cell[f"h{gate}" if mixer == "lstm" else f"i{gate}"]["bias"] = bias
    if mixer == "gru":
        cell["hn"]["bias"] = params["candidate_bias"]
    return {"cell": cell}


def from_linen(mixer: str, tree) -> dict:
    """The inverse of `to_linen`, for gradients."""
    cell, gates = tree["cell"], GATES[mixer]
    with_bias = "h" if mixer == "lstm" else "i"
    params = {
        "kernel": jnp.concatenate([cell[f"i{gate}"]["kernel"] for gate in gates], axis=-1),
        "bias": jnp.concatenate([cell[f"{with_bias}{gate}"]["bias"] for gate in gates]),
        "recurrent": jnp.concatenate([cell[f"h{gate}"]["kernel"] for gate in gates], axis=-1),
    }
    return params | ({"candidate_bias": cell["hn"]["bias"]} if mixer == "gru" else {})
