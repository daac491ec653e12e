"""Prepared sentence pairs as a task: which texts, which vocabulary, under which name."""

import hashlib
import json

import pytest

from transformer_jax.config import Config, ConfigError
from transformer_jax.tasks import prepare, registry, sets, tokenizer, translation

SIZES = {"vocab_size": 320, "seq_len": 40, "batch_tokens": 200, "bucket_lengths": (20,)}
TRAIN = [(f"{n} dogs are {'very ' * (n % 3)}great.", f"{n} chiens sont {'très ' * (n % 3)}supers.") for n in range(60)]
PARTS = {
    "train": TRAIN,
    "validation": [(f"a red car {n}", f"une voiture rouge {n}") for n in range(7)],
    "test": [("xylophone quiz", "xylophone jeu")],
}


@pytest.fixture
def mine(tmp_path):
    """The data folder, with the pairs above prepared as the set `mine`."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for split, stem in (("train", "train"), ("validation", "val"), ("test", "test")):
        for side, ending in ((0, "en"), (1, "fr")):
            (folder / f"{stem}.{ending}").write_text("".join(pair[side] + "\n" for pair in PARTS[split]))
    prepare.prepare_own("parallel", "mine", folder, tmp_path / "data", source="train.en", target="train.fr")
    return tmp_path / "data"


def test_a_prepared_set_is_the_task_of_its_name(mine, config_of):
    config = config_of("mine", **SIZES)
    task = registry.build(config)
    for split, expected in PARTS.items():
        assert sorted(task.translation.pairs(split)) == sorted(expected)
        pairs = task.translation.pairs(split)
        rows = [(b, row) for b in task.evaluate(split) for row in range(len(b["index"])) if b["index"][row] >= 0]
        assert len(rows) == len(expected)
        for batch, row in rows:
            source, target = pairs[batch["index"][row]]
            assert task.translation.decode_target(batch["targets"][row]) == target
            assert (
                "".join(task.translation.source_tokens(batch["source"][row, : batch["source_lengths"][row] - 1]))
                == source
            )
    assert next(task.train(0))["inputs"].shape in {(10, 20), (5, 40)}
    assert registry.needs(config) == [] and registry.identity(config.task) == "mine"


def test_the_vocabulary_is_joint_and_of_the_training_split_alone(mine, config_of):
    task = registry.build(config_of("mine", **SIZES))
    shape = task.shape
    assert (
        shape.vocab_size == shape.source_vocab_size == shape.outputs <= 320 and shape.seq_len == shape.source_len == 40
    )
    pairs = task.translation.pairs("train")
    sides = [source for source, _ in pairs] + [target for _, target in pairs]
    assert task.files == {"tokenizer.json": tokenizer.train(sides, 320).json}
    known = json.loads(task.files["tokenizer.json"])["model"]["vocab"]
    assert {"Ġdogs", "Ġchiens"} < set(known) and not [piece for piece in known if "xy" in piece or "voi" in piece]
    about = task.describe()
    assert about["sha256"]["tokenizer.json"] == hashlib.sha256(task.files["tokenizer.json"]).hexdigest()
    assert about["counts"] == {"train": 60, "validation": 7, "test": 1} and "train.en" in about["sha256"]
    assert task.objective is registry.build(config_of("mine", **SIZES)).objective


def test_it_is_known_in_part_before_it_is_read(mine, config_of):
    shape, next_token, problems = registry.entry(config_of("mine").task).outline(config_of("mine", **SIZES))
    assert (shape.seq_len, shape.source_len, shape.outputs, next_token, problems) == (40, 40, 320, True, ())
    with pytest.raises(ConfigError, match="task.vocab_size=200: subwords take at least 259"):
        registry.build(config_of("mine", **SIZES | {"vocab_size": 200}))


def test_a_name_of_no_set_is_unknown(mine, config_of):
    with pytest.raises(ConfigError, match="unknown task.name='mein'; did you mean mine"):
        registry.build(config_of("mein"))
    with pytest.raises(ConfigError, match="(?s)'stranger'.*a task too: none of that name in .*prepare parallel"):
        registry.needs(config_of("stranger"))


def test_multi30k_has_a_task_for_each_pair_of_languages(config_of, monkeypatch):
    rows = [{"en": b"one dog", "fr": "un chien là".encode(), "de": b"ein Hund"}] * 3
    monkeypatch.setattr(sets, "records", lambda builder, split: rows)
    monkeypatch.setattr(sets, "open_set", lambda name, folder: {"multi30k": None}[name])
    for name, expected in (("multi30k_en_fr", ("one dog", "un chien là")), ("multi30k_en_de", ("one dog", "ein Hund"))):
        assert registry.build(config_of(name, **SIZES)).translation.pairs("test") == [expected] * 3


def test_a_set_that_is_not_prepared_says_how_to_get_it(config_of):
    with pytest.raises(sets.MissingData, match="(?s)prepare multi30k --from FOLDER.*--task.name numbers_en_fr"):
        registry.build(config_of("multi30k_en_de", **SIZES))


def test_every_task_can_be_outlined():
    config = Config()
    for name, entry in registry.TASKS.items():
        assert entry.text and entry.outline(config).shape.seq_len > 0, name
    assert set(translation.MULTI30K) < set(registry.TASKS)


@pytest.mark.slow
def test_the_real_sentences(made, real, config_of):
    made("multi30k", real("multi30k"))
    config = config_of("multi30k_en_fr", seq_len=64, vocab_size=6000, batch_tokens=3000, bucket_lengths=(16, 24, 32))
    task = registry.build(config)
    assert task.describe()["counts"] == {"train": 29_000, "validation": 1_014, "test": 1_000}
    assert task.describe()["left_out"] == 0 and task.shape.vocab_size == 6000
    pairs = task.translation.pairs("test")
    batches = list(task.evaluate("test"))
    decoded = {
        int(i): task.translation.decode_target(ids)
        for b in batches
        for i, ids in zip(b["index"], b["targets"], strict=True)
    }
    assert [decoded[i] for i in range(1000)] == [target for _, target in pairs]
