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
from transformer_jax.config import Config, MeasureConfig, with_overrides
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


@dataclass(frozen=True)
class Axes(MeasureConfig):
    contender: Contender = "encoder"
    """Who reads the texts."""


_ENCODER = imdb_encoder.CONFIG
BASE = Config(_ENCODER.model, _ENCODER.task, replace(_ENCODER.train, seed=0), Axes(rounds=3))
STUDIES = {"contenders": grid({"measure.contender": ["tfidf", *NETWORKS]})}
TASKS = None  # `data` asks whether it has labelled texts
SWEEPS = ("measure.contender",)
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds",)
time_limit = 3600.0  # seconds of a cell, beside half a second a step


def check(config: Config) -> None:
    """ConfigError: lanes."""
    require(config.train.lanes == 1, f"train.lanes={config.train.lanes}: this experiment trains one seed a round")


def data(config: Config) -> dict[str, str]:
    """The SHA-256 of the files that the prepared set was made from; MissingData, ConfigError: it is not there."""
    from transformer_jax.tasks import reviews

    return reviews.opened(config.task)[0]


def cell(config: Config, job: Job) -> list[dict]:
    """The rows of one contender: accuracy on the validation split, size, and which row is the best."""
    from transformer_jax.peers import bag_of_words
    from transformer_jax.tasks import reviews

    if config.measure.contender == "tfidf":
        _, read = reviews.opened(config.task)
        fitted = bag_of_words.fit(read("train"), read("validation"))
        return [{"step": 0, "lane": 0, "best": True} | fitted._asdict()]
    from transformer_jax.lab import trial  # here, as jax takes seconds to load and a bag of words has no need of it
    from transformer_jax.measure.matching import matched

    task = reviews.build(config)
    network = with_overrides(config, NETWORKS[config.measure.contender])
    config = matched(network, task.shape, "params", beside=config.model)
    trial.train(job.seeded(config), task, job.folder)
    rows = trial.curve(job.folder, "validation")
    measured = [row for row in rows if "accuracy" in row]  # a run that ended by a NaN has a row without one
    best, parameters = max(measured, key=lambda row: row["accuracy"], default=None), trial.num_params(config, task)
    return [row | {"parameters": parameters, "best": row is best} for row in rows]
