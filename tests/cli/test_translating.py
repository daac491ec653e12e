"""`evaluate` and `generate` of translations, of a training of a few seconds."""

import csv
import re

import numpy as np
import pytest

from transformer_jax.cli import main
from transformer_jax.lab import trained
from transformer_jax.tasks import registry
from transformer_jax.tasks import translation_quality as quality
from transformer_jax.train.log import read_metrics


def command(*words):
    return main.main([str(word) for word in words])


@pytest.fixture(scope="module")
def folders(trained_run):
    """Two runs of one translation and one of another task."""
    (folder,) = {trained_run(name).parent for name in ("one", "other", "recall")}
    return folder


def test_bleu_with_how_it_was_counted(folders, capsys):
    assert command("evaluate", folders / "one") == 0
    title, metrics, how = capsys.readouterr().out.splitlines()
    last = read_metrics(folders / "one" / "metrics.jsonl")[-1]
    assert all(f"{name} {last[name]:.6f}" in metrics for name in ("exact", "free_accuracy"))
    shown = re.search(r"bleu ([\d.]+) \[([\d.]+), ([\d.]+)\]", metrics).groups()
    assert [float(one) for one in shown] == pytest.approx(
        [last[f"bleu{end}"] for end in ("", "_low", "_high")], abs=0.006
    )
    assert how.startswith(f"BLEU: {quality.signature()}; greedy;")


def test_each_run_may_have_a_checkpoint_of_its_own(folders, capsys):
    pair = folders / "one", folders / "other"
    assert command("evaluate", *pair, "--checkpoint", "latest", "2") == 0
    assert command("evaluate", *pair, "--checkpoint", "latest", "best", "2") == 2
    assert "--checkpoint has 3 values for 2 runs" in capsys.readouterr().err


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


@pytest.mark.slow
def test_reversal_is_learnt_and_its_alignment_is_the_anti_diagonal(tmp_path):
    """configs/reversal.py on the test split: 99 % exact, and of the letters 99 % look at theirs."""
    assert command("train", "reversal", "--out", tmp_path / "run") == 0
    run = trained.restored(tmp_path / "run", registry.build, "best", None)
    exact, hits = [], []
    for batch in run.task.evaluate("test"):
        ids_BxN = np.asarray(run.run.write(run.lanes[0], batch["source"], batch["source_lengths"]))
        weights = run.model.alignment(
            run.lanes[0], batch["inputs"], batch["source"], batch["source_lengths"], batch["lengths"]
        )
        looked_BxL = np.asarray(weights).mean((0, 1)).argmax(-1)
        for row in np.flatnonzero(batch["index"] >= 0):
            n = batch["lengths"][row]  # letters and the end
            exact.append(np.array_equal(ids_BxN[row, :n], batch["targets"][row, :n]))
            hits += (looked_BxL[row, : n - 1] == np.arange(n - 1)[::-1]).tolist()
    assert np.mean(exact) >= 0.99 and np.mean(hits) >= 0.99


def test_a_trained_translation_needs_no_data(tmp_path, capsys):
    """Its subwords are those that the run keeps; only what asks for sentences reads them."""
    words = [f"w{i} x{i % 7}" for i in range(60)]
    for name, ending in (("a.en", ""), ("a.fr", " y")):
        (tmp_path / name).write_text("".join(f"{word}{ending}\n" for word in words))
    pairs = ["--from", tmp_path, "--source", "a.en", "--target", "a.fr", "--name", "mine", "--data-dir", tmp_path / "d"]
    assert command("prepare", "parallel", *pairs) == 0
    sizes = ["--model.d-model", 8, "--model.num-layers", 1, "--model.mlp-dim", 8, "--train.num-steps", 2]
    task = ["--task.name", "mine", "--task.seq-len", 16, "--task.vocab-size", 280, "--task.data-dir", tmp_path / "d"]
    run = tmp_path / "run"
    assert command("train", "bench", "--out", run, *task, *sizes) == 0
    capsys.readouterr()
    assert command("generate", run, "--text", "w1 x1") == 0
    before, noted = capsys.readouterr()
    assert "no training sentence" not in noted
    assert command("generate", run, "--text", "W1 日本 zzz") == 0
    assert capsys.readouterr().err == "no training sentence has 日, 本, zzz: what is written for that is a guess\n"
    (tmp_path / "d").rename(tmp_path / "elsewhere")
    assert command("generate", run, "--text", "w1 x1") == 0 and capsys.readouterr().out == before
    assert command("evaluate", run) == 2 and "no prepared set 'mine'" in capsys.readouterr().err
    assert command("evaluate", run, "--data-dir", tmp_path / "elsewhere") == 0
    (run / "tokenizer.json").write_text("{}")
    assert command("evaluate", run, "--data-dir", tmp_path / "elsewhere") == 2
    assert "another tokenizer.json" in capsys.readouterr().err
