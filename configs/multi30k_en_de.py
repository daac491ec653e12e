"""multi30k_en_fr with German in the place of French; all else is equal.

    python run.py prepare multi30k --from FOLDER
    python run.py train multi30k_en_de --out runs/ende
    python run.py evaluate runs/ende --split test

Wu et al. (2021, arXiv:2105.14462) report 41.0 BLEU on test_2016 for a model of this size.
"""

from configs import multi30k_en_fr
from transformer_jax.config import with_overrides

CONFIG = with_overrides(multi30k_en_fr.CONFIG, {"task.name": "multi30k_en_de"})
