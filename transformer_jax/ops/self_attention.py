"""Self-attention without a weight: a step becomes the mean of all steps, weighted by how alike they are.

B batch, T time steps, D width.
"""

import jax

from transformer_jax.ops.attention import SCALED_DOT, attention_weights


def weights(x_BxTxD, *, score: str = SCALED_DOT) -> jax.Array:
    """How much each step (row) takes of each step (column): softmax(score(x, x)), (B, T, T) float32; rows sum to one.

    score: a key of ops.scores.SCORES that has no weights: scaled_dot, dot or cosine.
    """
    x_BxTx1xD = x_BxTxD[:, :, None]
    return attention_weights(x_BxTx1xD, x_BxTx1xD, score=score)[:, 0]


def self_attention(x_BxTxD, *, score: str = SCALED_DOT) -> jax.Array:
    """softmax(score(x, x)) x, (B, T, D) in x's dtype: what attention does before anything is learned.

    Nothing is trained; the order of the steps and how far apart they are do not matter; T may be any number. (Chollet
    2021, "Deep Learning with Python", section 11.4.1.) `layers.attention.Attention` adds what is learned: three
    projections of x, which the heads share among them, and one of the result.
    """
    return (weights(x_BxTxD, score=score) @ x_BxTxD).astype(x_BxTxD.dtype)
