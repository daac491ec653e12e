"""scikit-learn's reader of labelled texts: words and pairs of neighbours, weighed by TF-IDF, in a linear classifier."""

from typing import NamedTuple

from transformer_jax.tasks.labelled import Texts, split_words

REGULARISATION = 10.0  # scikit-learn's C: weak, as TF-IDF vectors have length 1


class Fitted(NamedTuple):
    """What was reached."""

    accuracy: float
    """On the other texts, from 0 to 1."""
    parameters: int
    """Weights and biases of the classifier."""


def fit(train: Texts, other: Texts) -> Fitted:
    """Learns the labels of some texts, whole, and is asked for those of others; it has no seed. Wang & Manning (2012)
    name it a baseline to beat.

    Raises:
      ValueError: scikit-learn's, where the texts to learn from have one label, or no word that two of them share.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    bag = TfidfVectorizer(
        tokenizer=split_words, token_pattern=None, lowercase=False, ngram_range=(1, 2), min_df=2, sublinear_tf=True
    )
    model = LogisticRegression(C=REGULARISATION, max_iter=1000)
    model.fit(bag.fit_transform(train.texts), train.labels)
    accuracy = float(model.score(bag.transform(other.texts), other.labels))
    return Fitted(accuracy, model.coef_.size + model.intercept_.size)
