"""Original files to sets on disk: whole or not at all, and nothing that a hostile file asks for."""

import gzip
import hashlib
import io
import lzma
import tarfile

import numpy as np
import pytest
from PIL import Image

import configs
from transformer_jax.cli import main
from transformer_jax.config import ConfigError
from transformer_jax.host.folders import FolderError
from transformer_jax.tasks import originals, prepare, raw, registry, sets
from transformer_jax.typed import with_texts


def tar(path, *members):
    """members: TarInfo, or (name, bytes)."""
    with tarfile.open(path, "w:xz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def picture(colour, side=32):
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "jpeg")
    return file.getvalue()


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_prepared_opens_as_the_catalogues_own(made, mnist_files):
    import tensorflow_datasets as tfds

    data = made("mnist", mnist_files, train=50, test=10)
    source = tfds.data_source("mnist", split="train", data_dir=data)
    pixels = raw.idx(mnist_files / "train-images-idx3-ubyte.gz")
    assert sorted(r["image"].tobytes() for r in source) == sorted(image.tobytes() for image in pixels)
    labels = {image.tobytes(): i % 10 for i, image in enumerate(pixels)}
    assert all(labels[r["image"].tobytes()] == r["label"] for r in source)


def test_the_sources_digests_are_recorded(made, shakespeare_files):
    data = made("tiny_shakespeare", shakespeare_files)
    expected = hashlib.sha256((shakespeare_files / "input.txt").read_bytes()).hexdigest()
    builder = sets.open_set("tiny_shakespeare", data)
    assert sets.describe(builder, {})["sha256"] == {"input.txt": expected}


def test_preparing_again_changes_nothing_and_other_sources_are_refused(made, shakespeare_files, tmp_path):
    data = made("tiny_shakespeare", shakespeare_files)
    before = {path: (data / path).stat().st_mtime_ns for path in files_under(data)}
    goal = prepare.prepare("tiny_shakespeare", shakespeare_files, data)
    assert goal == data / "tiny_shakespeare" / "1.0.0"
    (shakespeare_files / "input.txt").write_text("another text " * 50)
    with pytest.raises(FolderError, match="other sources"):
        prepare.prepare("tiny_shakespeare", shakespeare_files, data)
    assert before == {path: (data / path).stat().st_mtime_ns for path in files_under(data)}


def test_a_set_that_is_not_whole_is_not_taken_for_prepared(made, shakespeare_files):
    data = made("tiny_shakespeare", shakespeare_files)
    shard = next(data.rglob("*train.array_record*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(sets.MissingData, match="incomplete, remove it"):
        prepare.prepare("tiny_shakespeare", shakespeare_files, data)
    (shard.parent / "dataset_info.json").unlink()
    with pytest.raises(FolderError, match="is no set; remove it"):
        prepare.prepare("tiny_shakespeare", shakespeare_files, data)


def test_leftovers_of_a_killed_call_are_removed(made, shakespeare_files, tmp_path):
    left = tmp_path / "data" / "tiny_shakespeare" / "incomplete.ABCDEF_1.0.0"
    left.mkdir(parents=True)
    (left / "dataset_info.json").write_text("{}")
    with pytest.raises(sets.MissingData, match="no prepared set"):
        sets.open_set("tiny_shakespeare", tmp_path / "data")
    made("tiny_shakespeare", shakespeare_files)
    assert not left.exists()


def test_too_few_examples_leave_nothing_behind(mnist_files, tmp_path):
    with pytest.raises(raw.BadSource, match="50 examples in these files; it must have 60000"):
        prepare.prepare("mnist", mnist_files, tmp_path / "data")
    assert files_under(tmp_path / "data") == []


def test_missing_files_are_named_with_their_address(mnist_files, tmp_path):
    (mnist_files / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="lacks t10k-labels-idx1-ubyte.gz; it holds .*\n  published at https"):
        prepare.prepare("mnist", mnist_files, tmp_path / "data")


def test_what_is_there_in_the_place_of_the_files_and_what_was_meant(shakespeare_files, tmp_path):
    near = f"; did you mean {shakespeare_files}\\?"
    for source, message in {
        shakespeare_files / "input.txt": f"input.txt is a file: name a folder with input.txt{near}",
        shakespeare_files.parent: f"lacks input.txt; it holds .*{shakespeare_files.name}.*{near}",
        tmp_path / "nowhere" / "x": "x does not exist: name a folder with input.txt\n",
    }.items():
        with pytest.raises(FileNotFoundError, match=message):
            prepare.prepare("tiny_shakespeare", source, tmp_path / "data")


def test_an_unknown_set_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean mnist"):
        prepare.prepare("mnits", tmp_path, tmp_path)


def test_a_data_folder_that_cannot_be_made_is_named(made, shakespeare_files, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(FolderError, match="data cannot take the set: .*; choose another --data-dir"):
        made("tiny_shakespeare", shakespeare_files)


@pytest.mark.parametrize("size", [61_111, 1_115_394])
def test_a_text_that_is_not_the_published_one_is_refused(tmp_path, size):
    """A download that broke off, or as many other bytes."""
    (tmp_path / "input.txt").write_text("a" * size)
    difference = "61111 bytes, not 1115394" if size == 61_111 else "SHA-256 .*, not 86c4e6aa"
    with pytest.raises(raw.BadSource, match=f"input.txt is not the published one: it has {difference}"):
        prepare.prepare("tiny_shakespeare", tmp_path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("file", ["train.jsonl.xz", raw.IMDB_ARCHIVE])
def test_reviews_that_are_not_the_published_ones_are_refused_with_the_command_that_takes_them(tmp_path, file):
    (tmp_path / file).write_bytes(b"mine")
    with pytest.raises(raw.BadSource) as refused:
        prepare.prepare("imdb_reviews", tmp_path, tmp_path / "data")
    size, _ = originals.ORIGINALS["imdb_reviews"].published[file]
    assert f"{file} is not the published one: it has 4 bytes, not {size}; published at http" in str(refused.value)
    assert str(refused.value).endswith("for a file of your own: prepare labelled --from FILE.tsv --name mine")
    assert not (tmp_path / "data").exists()


def test_reviews_come_from_the_published_archive_as_it_is_with_those_that_test(made, imdb_files):
    """What it holds beside labelled reviews is left out, and so is the file of one split."""
    reviews = {
        "train/neg/0_3": "bad <br />\n",
        "test/pos/10_9": "très bon",
        "train/pos/1_10": "good",
        "test/neg/2_1": "x",
    }
    others = {"train/unsup/0_0.txt": "what", "train/labeledBow.feat": "9 0:9", "imdb.vocab": "the", "README": "..."}
    with tarfile.open(imdb_files / raw.IMDB_ARCHIVE, "w:gz") as archive:
        for name, text in {f"{name}.txt": text for name, text in reviews.items()}.items() | others.items():
            info = tarfile.TarInfo(f"aclImdb/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    builder = sets.open_set("imdb_reviews", made("imdb_reviews", imdb_files, train=2, test=2))
    found = {s: {(r["label"], r["text"].decode()) for r in sets.records(builder, s)} for s in ("train", "test")}
    assert found == {"train": {(0, "bad <br />\n"), (1, "good")}, "test": {(1, "très bon"), (0, "x")}}
    assert list(builder.info.metadata["sha256"]) == [raw.IMDB_ARCHIVE]


@pytest.mark.parametrize("name", originals.ORIGINALS)
def test_the_command_that_trains_on_a_set_is_of_a_config_that_reads_it(name, tmp_path):
    config, *options = originals.ORIGINALS[name].config.split()
    _, overrides = main.split([*options, "--task.data-dir", str(tmp_path)])
    config = with_texts(configs.get(config), overrides)
    assert registry.needs(config) == []
    with pytest.raises(sets.MissingData, match=f"no prepared set '{name}'"):
        registry.build(config)


@pytest.mark.parametrize(
    "member, message",
    [
        (("../evil.jpg", b"x"), "leaves its folder"),
        (("train/../../evil.jpg", b"x"), "leaves its folder"),
        (("/etc/evil.jpg", b"x"), "leaves its folder"),
        (("..\\evil.jpg", b"x"), "leaves its folder"),
        (special("train/frog/0.jpg", tarfile.SYMTYPE, "/etc/passwd"), "neither a file nor a folder"),
        (special("train/frog/0.jpg", tarfile.LNKTYPE, "other"), "neither a file nor a folder"),
        (special("train/frog/0.jpg", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (("train/frog/0.jpg", b"x" * (raw.MAX_IMAGE_BYTES + 1)), "more than"),
        (("train/frog/0.jpg", b"not an image"), "not a whole JPEG"),
        (("train/frog/0.jpg", picture("red")[:300]), "not a whole JPEG"),
        (("train/frog/0.jpg", picture("red", side=640)), "not of 32x32"),
        (("0.jpg", picture("red")), "train/CLASS/NUMBER.jpg"),
        (("train/dragon/0.jpg", picture("red")), "train/CLASS/NUMBER.jpg"),
    ],
)
def test_a_hostile_archive_is_refused_and_nothing_is_written(member, message, tmp_path):
    folder = tmp_path / "originals"
    folder.mkdir()
    tar(folder / "cifar10_jpg_small.tar.xz", ("train/frog/9.jpg", picture("green")), member)
    with pytest.raises(raw.BadSource, match=message):
        prepare.prepare("cifar10_jpg_small", folder, tmp_path / "data")
    assert files_under(tmp_path) == ["originals/cifar10_jpg_small.tar.xz"]


def test_a_cut_archive_is_refused(tmp_path):
    path = tar(tmp_path / "a.tar.xz", *[(f"{i}", np.random.default_rng(i).bytes(5000)) for i in range(9)])
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(raw.BadSource, match="cut short or damaged"):
        list(raw.members(path, 10_000))


def test_an_error_while_members_are_used_stays_itself(tmp_path):
    path = tar(tmp_path / "a.tar.xz", ("a", b"1"), ("b", b"2"))
    with pytest.raises(OSError, match="disk full"):
        for _ in raw.members(path, 10):
            raise OSError("disk full")


def test_small_cifar_images_come_through(made, tmp_path):
    folder = tmp_path / "originals"
    folder.mkdir()
    names = [f"train/{label}/0.jpg" for label in raw.CIFAR_CLASSES]
    tar(folder / "cifar10_jpg_small.tar.xz", *[(name, picture((9 * i, 0, 0))) for i, name in enumerate(names)])
    data = made("cifar10_jpg_small", folder, train=10)
    source = sets.records(sets.open_set("cifar10_jpg_small", data), "train")
    found = {r["label"]: r["image"] for r in source}
    assert sorted(found) == list(range(10)) and found[3].shape == (32, 32, 3)
    assert all(abs(int(image[5, 5, 0]) - 9 * label) <= 3 for label, image in found.items())


def test_cifar_binary_records(made, tmp_path):
    folder = tmp_path / "originals"
    folder.mkdir()
    random = np.random.default_rng(1)
    images = {f"data_batch_{i}.bin": random.integers(0, 256, (2, 32, 32, 3), np.uint8) for i in range(1, 6)}
    images["test_batch.bin"] = random.integers(0, 256, (2, 32, 32, 3), np.uint8)
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name, pair in images.items():
            content = b"".join(bytes([7]) + image.transpose(2, 0, 1).tobytes() for image in pair)
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    data = made("cifar10", folder, train=10, test=2)
    source = sets.records(sets.open_set("cifar10", data), "test")
    assert sorted(r["image"].tobytes() for r in source) == sorted(i.tobytes() for i in images["test_batch.bin"])
    assert [r["label"] for r in source] == [7, 7]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "cut short"),
        (b"\x93NUMPY", "not an IDX file"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "does not hold the 5 bytes"),
        (b"\0\0\x08\x01\0\0\0\x02abc", "does not hold the 2 bytes"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff", "claims"),
        (b"\0\0\x08\x02\0\0\0\x05", "cut short"),
    ],
)
def test_bad_idx_files_are_refused(content, message, tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    with pytest.raises(raw.BadSource, match=message):
        raw.idx(tmp_path / "a.gz")


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"id": 1, "rating": 1, "label": 2, "text": ""}', "7"])
def test_bad_review_files_are_refused(line, tmp_path):
    (tmp_path / "train.jsonl.xz").write_bytes(lzma.compress(line.encode()))
    with pytest.raises(raw.BadSource, match=r"train\.jsonl\.xz"):
        list(raw.imdb(tmp_path)["train"])


def test_a_cut_review_file_is_refused(imdb_files):
    path = imdb_files / "train.jsonl.xz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(raw.BadSource, match="cut short"):
        list(raw.imdb(imdb_files)["train"])


REAL = {
    "tiny_shakespeare": ("tiny_shakespeare", {"train": 1, "validation": 1, "test": 1}),
    "imdb_reviews": ("imdb", {"train": 25_000}),
    "mnist": ("mnist", {"train": 60_000, "test": 10_000}),
    "cifar10_jpg_small": ("cifar10_jpg_small", {"train": 5_000}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_originals(name, real, tmp_path):
    folder, counts = REAL[name]
    prepare.prepare(name, real(folder), tmp_path)
    builder = sets.open_set(name, tmp_path)
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == counts
