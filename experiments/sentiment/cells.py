"""Is a review positive? An encoder, with positions and without, against three simpler readers of the same words.

    python run.py experiment sentiment --out runs/sentiment
    python run.py experiment sentiment --config sst2_encoder --out runs/sentiment_sst2

TF-IDF of words and pairs of words with a logistic regression (scikit-learn) reads whole texts; the four networks read
the first task.seq_len words. Each round trains them from another seed; what has no seed is the same in every round.
A network gives a row for each evaluation on the validation split, and `best` says which checkpoint is kept.
"""

from dataclasses import dataclass, replace
from typing import Literal

from configs import imdb_encoder
from transformer_jax.config import Config, ConfigError, MeasureConfig, with_overrides
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.typed import require

Contender = Literal["tfidf", "maxpool", "encoder", "unordered", "bilstm"]
NETWORKS = {
    "maxpool": {"model.num_layers": 0, "model.position": "none"},
    "encoder": {},
    "unordered": {"model.position": "none"},
    "bilstm": {"model.mixer": "lstm", "model.bidirectional": True, "model.position": "none"},
}
"""What each network changes in the base's model, which is that of "encoder"."""
REGULARISATION = 10.0  # scikit-learn's C: weak, as TF-IDF vectors have length 1


@dataclass(frozen=True)
class Axes(MeasureConfig):
    contender: Contender = "encoder"
    """Who reads the texts."""


_ENCODER = imdb_encoder.CONFIG
BASE = Config(_ENCODER.model, _ENCODER.task, replace(_ENCODER.train, seed=0), Axes(rounds=3))
STUDIES = {"contenders": grid({"measure.contender": ["tfidf", *NETWORKS]})}
SWEEPS = ("measure.contender",)
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds",)


def check(config: Config) -> None:
    """ConfigError: lanes."""
    require(config.train.lanes == 1, f"train.lanes={config.train.lanes}: this experiment trains one seed a round")


def time_limit(config: Config) -> float:
    """Seconds that a cell may take, compilation included."""
    return 3600.0


def data(config: Config) -> dict[str, str]:
    """The SHA-256 of the files that the prepared set was made from.

    Raises:
      MissingData: the set is not prepared.
      ConfigError: the task has no labelled texts.
    """
    builder, _ = _set(config)
    return dict((builder.info.metadata or {}).get("sha256", {}))


def cell(config: Config, job: Job) -> list[dict]:
    """The rows of one contender: accuracy on the validation split, size, and which row is the best."""
    if config.measure.contender == "tfidf":
        return [_tfidf(config)]
    from transformer_jax.lab import trial  # here, as jax takes seconds to load and a plan has no need of it
    from transformer_jax.measure.matching import matched

    task = _task(config)
    network = with_overrides(config, NETWORKS[config.measure.contender])
    config = matched(network, task.shape, "params", beside=config.model)
    trial.train(job.seeded(config), task, job.folder)
    rows = trial.curve(job.folder, "validation")
    measured = [row for row in rows if "accuracy" in row]  # a run that ended by a NaN has a row without one
    best, parameters = max(measured, key=lambda row: row["accuracy"], default=None), trial.num_params(config, task)
    return [row | {"parameters": parameters, "best": row is best} for row in rows]


def _tfidf(config: Config) -> dict:
    """A bag of words and of pairs of neighbours, weighed by TF-IDF (Wang & Manning 2012 name it a baseline to beat)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    from transformer_jax.tasks.labelled import split_words

    builder, read = _set(config)
    train, validation = (read(builder, split) for split in ("train", "validation"))
    bag = TfidfVectorizer(
        tokenizer=split_words, token_pattern=None, lowercase=False, ngram_range=(1, 2), min_df=2, sublinear_tf=True
    )
    model = LogisticRegression(C=REGULARISATION, max_iter=1000)
    model.fit(bag.fit_transform(train.texts), train.labels)
    accuracy = float(model.score(bag.transform(validation.texts), validation.labels))
    size = model.coef_.size + model.intercept_.size
    return {"step": 0, "lane": 0, "accuracy": accuracy, "parameters": size, "best": True}


def _set(config: Config):
    """(the builder of the prepared set, read(builder, split) -> its texts)."""
    from transformer_jax.tasks import imdb, labelled, place, sets, sst2

    folder, name = place.data_dir(config.task), config.task.name
    if name == "imdb":
        return sets.open_set(imdb.SET, folder), imdb.read
    if name != sst2.SET and (place.own(name, folder) or ("",))[0] != "labelled":
        raise ConfigError(
            f"task.name={name}: this experiment reads imdb, sst2, or labelled texts of your own, and {folder} holds"
            " none of that name (python run.py prepare labelled --from FILE.tsv --name NAME)"
        )
    return sets.open_set(name, folder), labelled.texts_of


def _task(config: Config):
    from transformer_jax.tasks import imdb, labelled

    return (imdb if config.task.name == "imdb" else labelled).build(config)
