"""The base model of the 2017 paper (Vaswani et al., arXiv:1706.03762, table 3), 20 steps on Multi30k.

    python run.py prepare multi30k --from FOLDER
    python run.py train transformer_base --out runs/base

N = 6 layers in the encoder and 6 in the decoder, norms after each residual sum, d_model 512, 8 heads, MLPs of 2048 with
ReLU, sinusoidal positions, one tied table, dropout and label smoothing 0.1, Adam with beta2 0.98. It shows that the
size is trained as it is: the loss falls within these steps. Such a model takes far more data than these, and a
warm-up of 4,000 steps.
"""

from configs import multi30k_en_fr
from transformer_jax.config import with_overrides

CONFIG = with_overrides(
    multi30k_en_fr.CONFIG,
    {
        "model.d_model": 512,
        "model.num_layers": 6,
        "model.num_heads": 8,
        "model.mlp_dim": 2048,
        "model.norm": "post",
        "model.position": "sinusoidal",
        "model.dropout_rate": 0.1,
        "model.scan_layers": True,
        "task.batch_tokens": 800,
        "train.num_steps": 20,
        "train.peak_lr": 5e-4,
        "train.warmup_steps": 10,
        "train.weight_decay": 0.0,
        "train.chunk_steps": 2,
        "train.eval_every": 20,
        "train.checkpoint_every": 20,
        "train.keep_last": 1,
    },
)
