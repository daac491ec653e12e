"""Labelled texts are found by the name of their task, and nothing else is taken for them."""

import pytest

from transformer_jax.config import Config, ConfigError, TaskConfig, with_overrides
from transformer_jax.tasks import prepare, reviews, sets


@pytest.fixture
def films(tmp_path):
    """A task on 200 labelled sentences of one's own."""
    path, data = tmp_path / "films.tsv", tmp_path / "data"
    path.write_text("text\tlabel\n" + "".join(f"film {n} is {('poor', 'rich')[n % 2]}\t{n % 2}\n" for n in range(200)))
    prepare.prepare_own("labelled", "films", path, data)
    return TaskConfig(name="films", data_dir=str(data), seq_len=6, vocab_size=60, batch_size=8)


def test_a_set_of_ones_own_is_read_by_its_splits(films):
    sha256, read = reviews.opened(films)
    assert list(sha256) == ["films.tsv"] and len(sha256["films.tsv"]) == 64
    texts = {split: read(split) for split in ("train", "validation")}
    assert all(("rich" in text) == (label == "1") for one in texts.values() for text, label in zip(*one, strict=True))
    assert not {*texts["train"].texts} & {*texts["validation"].texts}
    task = reviews.build(Config(task=films))
    assert task.shape.outputs == 2 and next(task.train(0))["inputs"].shape == (8, 6)


def test_what_has_no_labelled_texts_is_refused_and_what_is_not_prepared_is_named(films):
    with pytest.raises(ConfigError, match="task.name=digits: labelled texts are imdb, sst2, or a set of your own"):
        reviews.opened(with_overrides(Config(task=films), {"task.name": "digits"}).task)
    for name, of in (("imdb", "imdb_reviews"), ("sst2", "sst2")):
        with pytest.raises(sets.MissingData, match=f"prepare {of}"):
            reviews.opened(with_overrides(Config(task=films), {"task.name": name}).task)
