"""Patches, statistics, and the image tasks: digits that come along, MNIST and CIFAR-10 from disk."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.config import ConfigError, Shape
from transformer_jax.tasks import digits, images, registry, sets

SPLITS = ("train", "validation", "test")


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), side=st.integers(1, 3), channels=st.integers(1, 3))
def test_patches_are_the_squares_row_by_row(rows, columns, side, channels):
    shape = (2, rows * side, columns * side, channels)
    pixels = np.arange(np.prod(shape)).reshape(shape)
    found = images.patches(pixels, side)
    assert found.shape == (2, rows * columns, side * side * channels)
    for n in range(2):
        for r in range(rows):
            for c in range(columns):
                square = pixels[n, r * side : (r + 1) * side, c * side : (c + 1) * side]
                np.testing.assert_array_equal(found[n, r * columns + c], square.ravel())


@given(rows=st.integers(1, 4), height=st.integers(1, 3), width=st.integers(1, 5), channels=st.integers(1, 3))
def test_a_patch_may_be_whole_rows(rows, height, width, channels):
    pixels = np.arange(2 * rows * height * width * channels).reshape(2, rows * height, width, channels)
    found = images.patches(pixels, height, width)
    assert found.shape == (2, rows, height * width * channels)
    for n in range(2):
        for r in range(rows):
            np.testing.assert_array_equal(found[n, r], pixels[n, r * height : (r + 1) * height].ravel())


@given(count=st.integers(1, 60), seed=st.integers(0, 5))
def test_a_permutation_is_one_and_its_own_for_each_seed(count, seed):
    order = images.reading_order(count, seed)
    assert sorted(order) == list(range(count))
    by_hash = sorted(range(count), key=lambda patch: hashlib.sha256(f"{seed}/{patch}".encode()).hexdigest())
    np.testing.assert_array_equal(order, by_hash)
    np.testing.assert_array_equal(images.reading_order(count, None), np.arange(count))


def test_permuted_patches_are_the_same_patches_in_one_order_in_all_splits_and_runs(config_of):
    plain = registry.build(config_of("digits", batch_size=6, patch_size=2))
    order = images.reading_order(16, 5)
    assert not np.array_equal(order, np.arange(16)) and not np.array_equal(order, images.reading_order(16, 6))
    for train_seed in (0, 1):
        permuted = registry.build(config_of("digits", batch_size=6, patch_size=2, permute_patches=5))
        assert permuted.shape == plain.shape
        for one, other in [(next(plain.train(train_seed)), next(permuted.train(train_seed)))] + [
            (next(iter(plain.evaluate(split))), next(iter(permuted.evaluate(split)))) for split in SPLITS
        ]:
            np.testing.assert_array_equal(one["inputs"][:, order], other["inputs"])
            np.testing.assert_array_equal(one["targets"], other["targets"])


def test_digits_are_read_row_by_row(config_of):
    whole = next(registry.build(config_of("digits", batch_size=6, patch_size=8)).train(3))
    config = config_of("digits", batch_size=6, patch_rows=1)
    task, outline = registry.build(config), registry.entry(config.task).outline(config)
    assert task.shape == outline.shape == Shape(8, 10, input_dim=8, pooled=True) and not outline.problems
    np.testing.assert_array_equal(next(task.train(3))["inputs"], whole["inputs"].reshape(6, 8, 8))


def test_images_are_padded_with_black_before_they_are_cut_and_may_keep_it_at_0(config_of):
    plain = next(registry.build(config_of("digits", batch_size=6, patch_size=8, pixels="unit")).train(3))["inputs"]
    config = config_of("digits", batch_size=6, patch_rows=1, pad=2, pixels="unit")
    task, outline = registry.build(config), registry.entry(config.task).outline(config)
    assert task.shape == outline.shape == Shape(12, 10, input_dim=12, pooled=True) and not outline.problems
    found = next(task.train(3))["inputs"]
    np.testing.assert_array_equal(found[:, 2:-2, 2:-2], plain.reshape(6, 8, 8))
    assert plain.min() == 0 and plain.max() == 1 and found.dtype == np.float32
    assert not found[:, [0, 1, -2, -1]].any() and not found[:, :, [0, 1, -2, -1]].any()
    with pytest.raises(ConfigError, match="task.pad=-1"):
        config_of("digits", patch_rows=1, pad=-1)


def test_rows_that_cannot_be_are_refused(config_of):
    with pytest.raises(ConfigError, match="task.patch_rows=3 does not divide images of 8 rows"):
        registry.build(config_of("digits", patch_rows=3))
    with pytest.raises(ConfigError, match="task.patch_size=2 and task.patch_rows=1: .*set one of them"):
        config_of("digits", patch_size=2, patch_rows=1)
    with pytest.raises(ConfigError, match="task.permute_patches"):
        config_of("digits", patch_size=2, permute_patches=-1)


def test_a_patch_that_does_not_divide_the_image_is_refused(config_of):
    with pytest.raises(ConfigError, match="task.patch_size=3 does not divide images of 8x8"):
        registry.build(config_of("digits", patch_size=3))


def test_standardised_images_have_mean_0_and_deviation_1_per_channel():
    pixels = np.random.default_rng(0).integers(0, 200, (7, 5, 4, 3), np.uint8) + np.uint8([0, 20, 50])
    found = images.standardise(pixels, *images.statistics(pixels))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((0, 1, 2)), 1, atol=1e-5)


def test_digits_splits_are_whole_disjoint_and_stratified(config_of, digests):
    task = registry.build(config_of("digits", batch_size=64, patch_size=2))
    batches = {split: list(task.evaluate(split)) for split in SPLITS}
    found = {split: digests(batches[split]) for split in SPLITS}
    counts = task.describe()["counts"]
    assert sum(counts.values()) == 1797
    assert {split: len(rows) for split, rows in found.items()} == counts  # no image twice
    assert len(set.union(*found.values())) == 1797
    for split, share in (("test", 0.2), ("validation", 0.1)):
        labels = np.concatenate([b["targets"][b["weights"] > 0] for b in batches[split]])
        assert set(np.bincount(labels) - round(179.7 * share)) <= {-1, 0, 1}


def test_the_digits_split_depends_on_content_alone():
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 17, (90, 8, 8, 1), np.uint8), np.arange(90) % 3
    order = random.permutation(90)
    one, other = digits.split_by_content(pixels, labels), digits.split_by_content(pixels[order], labels[order])
    for split in SPLITS:
        assert set(one[split]) == set(order[other[split]])


def test_digits_are_standardised_by_the_training_split_alone(config_of):
    task = registry.build(config_of("digits", batch_size=64, patch_size=2))
    values = {split: np.concatenate([b["inputs"][b["weights"] > 0] for b in task.evaluate(split)]) for split in SPLITS}
    assert abs(values["train"].mean()) < 1e-5 and abs(values["train"].std() - 1) < 1e-5
    assert abs(values["test"].mean()) > 1e-4


def test_an_image_without_a_patch_size_is_refused_with_one_that_fits(config_of, made, mnist_files):
    with pytest.raises(ConfigError, match="digits has images of 8x8.*set task.patch_size, to 2 for example"):
        registry.build(config_of("digits"))
    made("mnist", mnist_files, train=50, test=10)
    with pytest.raises(ConfigError, match="mnist has images of 28x28.*set task.patch_size, to 7 for example"):
        registry.build(config_of("mnist"))


def test_digits_of_every_patch_size_are_the_same_stream(config_of):
    whole = registry.build(config_of("digits", batch_size=6, patch_size=8))
    cut = registry.build(config_of("digits", batch_size=6, patch_size=2))
    assert whole.shape == Shape(1, 10, input_dim=64, pooled=True)
    assert cut.shape == Shape(16, 10, input_dim=4, pooled=True)
    a, b = next(whole.train(3)), next(cut.train(3))
    np.testing.assert_array_equal(images.patches(a["inputs"].reshape(6, 8, 8, 1), 2), b["inputs"])
    np.testing.assert_array_equal(a["targets"], b["targets"])
    assert {k: (v.shape, v.dtype.name) for k, v in b.items()} == {
        "inputs": ((6, 16, 4), "float32"),
        "targets": ((6,), "int32"),
        "weights": ((6,), "float32"),
    }


def test_digits_are_trained_on_in_another_order_each_epoch(config_of):
    task = registry.build(config_of("digits", batch_size=1259, patch_size=4))
    stream = task.train(0)
    first, second = next(stream), next(stream)
    assert not np.array_equal(first["inputs"], second["inputs"])
    assert sorted(map(bytes, first["inputs"])) == sorted(map(bytes, second["inputs"]))


def test_mnist_from_disk(made, mnist_files, config_of, digests):
    made("mnist", mnist_files, train=50, test=10)
    task = registry.build(config_of("mnist", batch_size=16, patch_size=7))
    assert task.shape == Shape(16, 10, input_dim=49, pooled=True)
    found = {split: digests(task.evaluate(split)) for split in SPLITS}
    assert {split: len(rows) for split, rows in found.items()} == {"train": 40, "validation": 10, "test": 10}
    assert len(set.union(*found.values())) == 60
    assert task.describe()["counts"] == {"train": 40, "validation": 10, "test": 10}
    assert "train-images-idx3-ubyte.gz" in task.describe()["sha256"]
    batch = next(task.train(0))
    assert {row.tobytes() for row in batch["inputs"]} <= found["train"] and batch["targets"].dtype == np.int32


def test_the_test_split_is_opened_by_evaluate_alone(made, mnist_files, config_of, monkeypatch):
    made("mnist", mnist_files, train=50, test=10)
    opened = []
    read = sets.records
    monkeypatch.setattr(sets, "records", lambda b, split, *a, **k: opened.append(split) or read(b, split, *a, **k))
    task = registry.build(config_of("mnist", batch_size=16, patch_size=14))
    next(task.train(0))
    list(task.evaluate("validation"))
    assert opened and "test" not in opened
    list(task.evaluate("test"))
    assert opened[-1] == "test"


def test_an_unknown_split_is_refused(config_of):
    with pytest.raises(ValueError, match="no split 'tset'; it has: train, validation, test"):
        list(registry.build(config_of("digits", patch_size=8)).evaluate("tset"))


@pytest.mark.slow
@pytest.mark.parametrize("name, splits", [("mnist", (55000, 5000, 10000)), ("cifar10_jpg_small", (4000, 500, 500))])
def test_real_images_do_not_leak_between_splits(name, splits, real, made, config_of, digests):
    made(name, real(name))
    task = registry.build(config_of(name, batch_size=500, patch_size=4))
    found = [digests(task.evaluate(split)) for split in SPLITS]
    assert tuple(map(len, found)) == splits
    assert len(set.union(*found)) == sum(splits)
