"""A small transformer that translates descriptions of pictures from English to French: Multi30k, task 1.

    python run.py prepare multi30k --from FOLDER
    python run.py train multi30k_en_fr --out runs/enfr
    python run.py evaluate runs/enfr --split test
    python run.py generate runs/enfr --text "Two dogs are running."

d_model 128, 4 layers in the encoder and 4 in the decoder, 6,000 subwords for both languages, one tied table: 2.62
million parameters. 0.6 s a step on two CPU cores; BLEU on test_2016 56.7 [55.0, 58.3] (average of the last five
checkpoints, beam 5). A public transformer of this size reaches 60.8 on lower-cased text with other tokens.
"""

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(
        d_model=128,
        num_layers=4,
        num_heads=4,
        max_len=64,
        activation="relu",
        dropout_rate=0.15,
        tie_embeddings=True,
        scan_layers=False,
    ),
    task=TaskConfig(
        name="multi30k_en_fr",
        seq_len=64,
        vocab_size=6000,
        batch_tokens=2500,
        bucket_lengths=(16, 20, 26, 36),
    ),
    train=TrainConfig(
        num_steps=5000,
        peak_lr=2e-3,
        warmup_steps=800,
        schedule="inverse_sqrt",
        beta2=0.98,
        weight_decay=0.01,
        label_smoothing=0.1,
        eval_every=250,
        checkpoint_every=250,
        keep_last=5,
        best="bleu",
    ),
)
