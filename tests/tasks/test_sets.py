"""Prepared sets that are absent, half there or damaged."""

from pathlib import Path

import pytest

from transformer_jax.config import TaskConfig
from transformer_jax.tasks import place, registry, sets


@pytest.fixture
def prepared(made, shakespeare_files):
    data = made("tiny_shakespeare", shakespeare_files)
    return data, next(data.rglob("*train.array_record*"))


def use(data):
    builder = sets.open_set("tiny_shakespeare", data)
    return [record["text"] for record in sets.records(builder, "train")]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar10_jpg_small", "imdb", "shakespeare_char"])
def test_a_missing_set_names_the_command_and_the_alternative(name, config_of):
    with pytest.raises(sets.MissingData) as error:
        registry.build(config_of(name))
    assert "python run.py prepare " in str(error.value) and "--from FOLDER" in str(error.value)
    assert "--task.name " in str(error.value).splitlines()[-1]


def test_the_command_for_a_missing_set_puts_it_where_it_is_looked_for(tmp_path, made, mnist_files, monkeypatch):
    with pytest.raises(sets.MissingData) as error:
        sets.open_set("cifar10", tmp_path / "my data")
    assert "my data, which does not exist\n" in str(error.value)
    assert f"prepare cifar10 --from FOLDER --data-dir '{tmp_path / 'my data'}'\n" in str(error.value)
    data = made("mnist", mnist_files, train=50, test=10)
    with pytest.raises(sets.MissingData, match="data, which holds mnist\n"):
        sets.open_set("cifar10", data)
    with pytest.raises(sets.MissingData, match=f"without the validation split\n.*\n.* --data-dir {data}\n"):
        sets.records(sets.open_set("mnist", data), "validation[:1]")
    monkeypatch.setenv("TFDS_DATA_DIR", str(data))
    with pytest.raises(sets.MissingData) as error:
        sets.open_set("cifar10", data)
    assert "--data-dir" not in str(error.value)  # it is the one that is taken in any case


def test_a_file_that_never_arrived(prepared):
    data, shard = prepared
    shard.unlink()
    with pytest.raises(sets.MissingData, match="is incomplete, remove it: .* has 0 of"):
        use(data)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1])
def test_a_file_that_arrived_in_part(prepared, keep):
    data, shard = prepared
    content = shard.read_bytes()
    shard.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(sets.MissingData, match="is incomplete, remove it: "):
        use(data)


def test_half_a_file_of_a_set_whose_sizes_nobody_recorded(prepared):
    data, shard = prepared
    (shard.parent / "metadata.json").unlink()
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(sets.MissingData, match="cannot be read"):
        use(data)


def test_a_folder_without_its_description(prepared):
    data, shard = prepared
    (shard.parent / "dataset_info.json").unlink()
    with pytest.raises(sets.MissingData, match="no prepared set"):
        use(data)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_description_that_arrived_in_part(prepared, name):
    data, shard = prepared
    path = shard.parent / name
    path.write_text(path.read_text()[:20])
    with pytest.raises(sets.MissingData, match="cannot be opened"):
        use(data)


def test_a_flipped_byte_is_noticed(prepared):
    data, shard = prepared
    content = bytearray(shard.read_bytes())
    middle = next(i for i in range(len(content) // 4, len(content)) if content[i])
    content[middle] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(sets.MissingData, match="cannot be read"):
        use(data)


def test_the_data_folder_comes_from_the_config_then_the_environment(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "/a/b")
    assert place.data_dir(TaskConfig()) == Path("/a/b")
    assert place.data_dir(TaskConfig(data_dir="/c")) == Path("/c")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert place.data_dir(TaskConfig()) == Path.home() / ".cache/transformer_jax/data"
