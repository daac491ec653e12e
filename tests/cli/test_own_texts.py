"""From a file of the user's own to a trained run: a text to be continued, a table of labelled texts."""

import json
import shutil

import pytest

from transformer_jax.cli import main

TRAIN = ["--model.d-model", 8, "--model.num-layers", 1, "--model.mlp-dim", 8]
STEPS = ["--train.num-steps", 4]
EVERY = ["--train.warmup-steps", 0, "--train.eval-every", 2, "--train.checkpoint-every", 2]


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def command(*words):
    return main.main([str(word) for word in words])


@pytest.mark.parametrize("tokens", ["characters", "subwords"])
def test_a_text_is_prepared_trained_on_and_continued(tmp_path, data, capsys, tokens):
    (tmp_path / "novel.txt").write_text("".join(f"{n} times {n} is {n * n}, it says.\n" for n in range(100, 180)) + "§")
    assert command("prepare", "text", "--from", tmp_path / "novel.txt", "--name", "novel") == 0
    shown = capsys.readouterr().out
    assert "position: the first 90 % train, the next 5 % validate, the last 5 % test" in shown
    assert "test: 1 of its characters ('§') do not occur in the training part" in shown
    assert "python run.py train shakespeare_char --task.name novel" in shown
    small = ["--task.seq-len", 16, "--task.batch-size", 3, "--task.tokens", tokens, "--task.vocab-size", 300]
    run = tmp_path / "run"
    assert (
        command("train", "shakespeare_char", "--task.name", "novel", "--out", run, *TRAIN, *EVERY, *small, *STEPS) == 0
    )
    assert (run / f"{tokens}.json").exists()
    assert command("evaluate", run, "--split", "test") == 0
    assert command("generate", run, "--prompt", "1§", "--max-new", 3) == (2 if tokens == "characters" else 0)
    capsys.readouterr()
    assert command("generate", run, "--prompt", "10", "--max-new", 300, "--temperature", 9) == 0
    written = capsys.readouterr().out
    assert len(written) > 3 and (tokens == "subwords" or "\N{REPLACEMENT CHARACTER}" not in written)
    assert command("generate", run, "--text", "10") == 2
    assert "not a translation; what a language model continues is given by --prompt" in capsys.readouterr().err
    (tmp_path / "other.txt").write_text("".join(f"{n} times {n} is {n * n}, it says.\n" for n in range(101, 180)))
    data.rename(tmp_path / "gone")
    assert command("prepare", "text", "--from", tmp_path / "other.txt", "--name", "novel") == 0
    capsys.readouterr()
    for words in (["evaluate", run], ["train", "shakespeare_char", "--task.name", "novel", "--out", run, *TRAIN, *EVERY,
                                      *small, "--train.num-steps", 6]):  # fmt: skip
        assert command(*words) == 2
        assert f"{run} was trained on another other.txt than novel in" in capsys.readouterr().err
    shutil.rmtree(data)
    assert command("generate", run, "--prompt", "10", "--max-new", 3) == 0  # its vocabulary is in its folder
    capsys.readouterr()
    again = (
        "  to prepare it again: python run.py prepare KIND --from FILES --name novel (prepare --help has the kinds)\n"
    )
    elsewhere = "  if it is prepared elsewhere: --data-dir FOLDER\n"
    assert command("evaluate", run) == 2
    missing = f"error: no prepared set 'novel' in {data}, which does not exist\n"
    assert capsys.readouterr().err == missing + again + elsewhere
    assert command("train", "shakespeare_char", "--out", tmp_path / "none") == 2
    error = capsys.readouterr().err
    assert "to train on data that need no file" in error and elsewhere.replace("--data", "--task.data") in error


def test_labelled_texts_are_prepared_and_trained_on_until_patience_is_over(tmp_path, capsys):
    rows = "".join(f"film {n} is {('poor', 'fair', 'rich')[n % 3]}\t{n % 3}\n" for n in range(120))
    (tmp_path / "films.tsv").write_text("review\tstars\n" + rows)
    words = ["prepare", "labelled", "--from", tmp_path / "films.tsv", "--name", "films"]
    assert command(*words) == 2
    assert "films.tsv, line 1: the header names no column 'text'" in capsys.readouterr().err
    assert command(*words, "--text-column", "review", "--label-column", "stars") == 0
    shown = capsys.readouterr().out
    assert "train 108, validation 6 (held out by a hash of the text), test 6 (held out" in shown
    assert "python run.py train imdb_encoder --task.name films" in shown
    small = ["--task.seq-len", 8, "--task.bucket-lengths", 5, "--task.batch-size", 4, "--model.head-dim", 4]
    patient = ["--train.num-steps", 100, "--train.patience", 1, "--train.peak-lr", "1e-9"]
    words = [
        "train",
        "imdb_encoder",
        "--task.name",
        "films",
        "--out",
        tmp_path / "run",
        *TRAIN,
        *EVERY,
        *small,
        *patient,
    ]
    assert command(*words) == 0  # so small a rate changes no answer
    assert (
        "ended at step 4 of 100: the last 1 evaluations gave no better validation accuracy" in capsys.readouterr().err
    )
    assert command(*words) == 0
    assert "ended early by train.patience=1 at step 4: nothing is left to train\n" in capsys.readouterr().err
    kept = json.loads((tmp_path / "run" / "vocabulary.json").read_text())
    assert kept["labels"] == ["0", "1", "2"]
    assert command("evaluate", tmp_path / "run", "--split", "test") == 0
    assert command("generate", tmp_path / "run", "--prompt", "film") == 2
    assert "which is not a language model of text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("prepare text --from x.txt", "prepare text needs --name: one text, to be continued: prepare text --from"),
        ("prepare text --from x.txt --name a --source b", "prepare text has no use for --source"),
        (
            "prepare mnist --from . --text-column a",
            "prepare mnist has no use for --text-column: texts with a label each",
        ),
        ("prepare labelled --from . --name a --text-column label", "is a folder: --from takes the file itself"),
    ],
)
def test_mistakes_in_the_command(words, message, capsys):
    assert command(*words.split()) == 2
    assert message in capsys.readouterr().err
