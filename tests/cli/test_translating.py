"""`evaluate` and `generate` of translations, of a training of a few seconds."""

import csv

import pytest

from transformer_jax.cli import main
from transformer_jax.tasks import translation_quality as quality
from transformer_jax.train.log import read_metrics


def command(*words):
    return main.main([str(word) for word in words])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs of one translation and one of another task."""
    folder = tmp_path_factory.mktemp("runs")
    sizes = ["--model.d-model", 8, "--model.num-layers", 1, "--model.mlp-dim", 8, "--train.num-steps", 2]
    reversal = ["--task.name", "reversal", "--task.seq-len", 7, "--task.vocab-size", 24, "--task.batch-size", 250]
    recall = ["--task.name", "associative_recall", "--task.num-items", 2, "--task.vocab-size", 16, "--task.seq-len", 8]
    for name, task, seed in (("one", reversal, 0), ("other", reversal, 1), ("recall", recall, 0)):
        words = ["train", "bench", "--out", folder / name, *task, *sizes, "--train.seed", seed]
        assert command(*words) == 0
    return folder


def test_bleu_with_how_it_was_counted(folders, capsys):
    assert command("evaluate", folders / "one") == 0
    title, metrics, how = capsys.readouterr().out.splitlines()
    last = read_metrics(folders / "one" / "metrics.jsonl")[-1]
    assert all(f"{name} {last[name]:.6f}" in metrics for name in ("exact", "free_accuracy"))
    assert f"bleu {last['bleu']:.2f} [{last['bleu_low']:.2f}, {last['bleu_high']:.2f}]" in metrics
    assert how.startswith(f"BLEU: {quality.signature()}; greedy;")


def test_runs_beside_each_other_have_a_paired_difference(folders, tmp_path, capsys):
    words = ["--split", "test", "--beam", 2, "--translations", tmp_path / "a.tsv", "--csv", tmp_path / "a.csv"]
    assert command("evaluate", folders / "one", folders / "other", *words) == 0
    *_, how, difference = capsys.readouterr().out.splitlines()
    assert "beam 2, length penalty 0.6" in how
    with open(tmp_path / "a.csv") as file:
        one, other = (float(row["bleu"]) for row in csv.DictReader(file))
    about = f"BLEU of {folders / 'one'} - {folders / 'other'}: "
    assert difference.startswith(f"{about}{one - other:.2f} [") and difference.endswith("the same sentences resampled")
    header, *lines = (tmp_path / "a.tsv").read_text().splitlines()
    assert header.split("\t") == ["source", "reference", str(folders / "one"), str(folders / "other")]
    assert all(line.split("\t")[0].split()[::-1] == line.split("\t")[1].split() for line in lines)


def test_a_text_and_its_picture(folders, tmp_path, capsys):
    assert command("generate", folders / "one", "--text", "a b c", "--beam", 2, "--alignment", tmp_path / "a.png") == 0
    assert capsys.readouterr().out.count("\n") == 1 and (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "one", "--prompt", "a"], "not a language model of text; a translation is asked for by --text"),
        (["generate", "recall", "--text", "a"], "associative_recall, which is not a translation"),
        (["generate", "one", "--text", ""], "--text: the text is empty"),
        (["generate", "one", "--text", "a b c d e f g"], "--text: the text has 8 tokens"),
        (["evaluate", "recall", "--beam", "2"], "--beam: "),
        (["evaluate", "recall", "--translations", "a.tsv"], "--translations: "),
        (["evaluate", "one", "--beam", "0"], "--beam 0: a beam holds at least 1"),
        (["evaluate", "one", "--split", "tset", "--beam", "2"], "no split 'tset'"),
    ],
)
def test_mistakes_are_one_message(folders, capsys, monkeypatch, words, message):
    monkeypatch.chdir(folders)
    assert command(*words) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.startswith("error: ") and shown.err.count("\n") == 1 and not shown.out
