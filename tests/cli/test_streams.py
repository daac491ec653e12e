"""A stream of tasks from the command line: learned, evaluated, and what is refused."""

import contextlib
import csv
import shutil

import pytest

from transformer_jax.cli import main
from transformer_jax.cli import streams as cli_streams
from transformer_jax.lab import streams
from transformer_jax.train.log import read_launches, read_metrics, record

TINY = [
    *("--model.num-layers", "1", "--model.d-model", "8", "--model.mlp-dim", "8", "--train.num-steps", "2"),
    *("--train.warmup-steps", "1", "--train.eval-every", "2", "--train.checkpoint-every", "2", "--train.lanes", "2"),
    *("--continual.num-tasks", "2"),
]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "stream"
    words = ["train", "digits_stream", "--continual.strengths", "0", "100", "--out", str(folder), *TINY]
    assert main.main(words) == 0
    return folder


def test_evaluate_prints_the_matrix_and_what_follows_from_it(learned, tmp_path, capsys):
    table = tmp_path / "all.csv"
    assert main.main(["evaluate", str(learned), "--split", "test", "--csv", str(table)]) == 0
    printed = capsys.readouterr().out
    for text in ("split, task-incremental, ewc on all, strength 100; test split", "untrained", "after task 1",
                 "average_accuracy", "forgetting", "backward_transfer", "forward_transfer"):  # fmt: skip
        assert text in printed
    rows = list(csv.DictReader(table.open()))
    assert [row["strength"] for row in rows] == ["0.0", "100.0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--continual.strength", "-1"], "continual.strength=-1.0: must be finite, and 0 or above"),
        (["--continual.strength", "nan"], "continual.strength=nan: must be finite"),
        (["--continual.part", "mpl"], "continual.part=mpl matches no parameter: the parts there are all, mixer"),
        (["--continual.methd", "ewc"], "did you mean --continual.method?"),
        (["--continual.part", "query_key", "--model.mixer", "gru"], "has no queries, keys and values; take mixer"),
        (
            ["--continual.method", "frozen", "--train.weight-decay", "0.1"],
            "it would move what is frozen (continual.method=frozen); set it to 0",
        ),
        (
            ["--continual.with-frozen", "true", "--train.weight-decay", "0.1"],
            "it would move what is frozen (continual.with_frozen); set it to 0",
        ),
        (
            ["--continual.method", "frozen", "--continual.with-frozen", "true"],
            "continual.with_frozen: with continual.method=frozen every lane is frozen",
        ),
        (
            ["--continual.with-frozen", "true", "--train.lanes", "3"],
            "every seed has 2 lanes here (by continual.with_frozen), so it must be a multiple: 2 or 4",
        ),
        (["--continual.method", "none", "--continual.strength", "7"], "method=none does not read it; it is of lwf, l2"),
        (["--continual.method", "lwf", "--continual.fisher", "sampled"], "method=lwf does not read it; it is of ewc"),
        (
            ["--continual.method", "replay", "--continual.part", "mlp"],
            "method=replay does not read it; it is of frozen",
        ),
        (["--continual.buffer", "7"], "continual.buffer: continual.method=ewc does not read it; it is of replay"),
        (
            ["--continual.method", "lwf", "--continual.part", "mlp"],
            "continual.part=mlp: continual.method=lwf draws answers",
        ),
        (["--wandb"], "--wandb has no use with a stream of tasks"),
    ],
)
def test_a_mistake_ends_with_exit_code_2_and_writes_nothing(tmp_path, capsys, words, message):
    assert main.main(["train", "digits_stream", "--out", str(tmp_path / "none"), *TINY, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_two_texts_of_ones_own_are_learned_one_after_the_other(tmp_path, capsys):
    data, out = ["--data-dir", str(tmp_path / "data")], tmp_path / "texts"
    for name, line in (("one", "a cat sat on a mat\n"), ("two", "ein Hund läuft über Gras\n")):
        (tmp_path / f"{name}.txt").write_text(200 * line)
        assert main.main(["prepare", "text", "--from", str(tmp_path / f"{name}.txt"), "--name", name, *data]) == 0
    words = ["train", "texts_stream", "--task.name", "one", "--continual.texts", "two", "--task.data-dir", data[1]]
    small = ["--task.seq-len", "8", "--model.num-heads", "1", "--continual.fisher-examples", "4", "--out", str(out)]
    assert main.main([*words, *small, *TINY]) == 0
    assert main.main(["evaluate", str(out), "--split", "test"]) == 0
    assert "texts one, two, domain-incremental, ewc on all, strength 10; test split" in capsys.readouterr().out
    wrong = ["train", "texts_stream", "--task.name", "one", "--task.data-dir", data[1], "--out", str(tmp_path / "none")]
    (tmp_path / "films.tsv").write_text("text\tlabel\n" + "".join(f"film {n}\t{n % 2}\n" for n in range(60)))
    assert main.main(["prepare", "labelled", "--from", str(tmp_path / "films.tsv"), "--name", "films", *data]) == 0
    labelled = "films: this set is of the kind labelled (texts with a label each, "
    unknown = f"tow: this is no text; did you mean two?; in {data[1]}, of your own: one, two (python run.py prepare"
    for texts, said in (("one", "one: the stream has this text already"), ("tow", unknown), ("films", labelled)):
        assert main.main([*wrong, "--continual.texts", texts]) == 2
        assert f"continual.texts={said}" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_all_that_keeps_a_stream_from_texts_is_said_at_once(tmp_path, capsys):
    texts = ["--continual.stream", "texts", "--continual.texts", "number_word", "parity"]
    assert main.main(["train", "digits_stream", "--out", str(tmp_path / "none"), *texts]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("  and: ").removeprefix("error: ").partition(": ")[0] for line in lines] == [
        "continual.num_tasks=5", "continual.scenario=task", "task.name=digits", "continual.texts=number_word",
        "continual.texts=parity", "model.causal=False",
    ]  # fmt: skip
    assert "did you mean number_words or number_words_fr?" in lines[3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "digits_vit"], "digits_vit does not learn tasks one after another; what does: digits_stream, perm"),
        (["experiment", "recall", "--dry-run"], "recall does not learn tasks one after another; what does: forgetting"),
    ],
)
def test_an_option_of_streams_on_what_is_none(tmp_path, capsys, words, message):
    assert main.main([*words, "--continual.method", "ewc", "--out", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"error: --continual.method: {message}")
    assert not (tmp_path / "none").exists()


def test_a_launch_says_how_much_it_learns_and_when_it_compiles(tmp_path, capsys):
    words = ["train", "digits_stream", "--continual.strengths", "0", "9", *TINY, "--continual.num-tasks", "3"]
    assert main.main([*words, "--continual.order", "2", "0", "1", "--out", str(tmp_path / "stream")]) == 0
    printed = capsys.readouterr()
    assert "tasks 0 1 2 are 2 0 1 of the stream\n" in printed.out
    lines = printed.err.splitlines()
    assert lines[:2] == ["3 tasks of 2 steps each; 2 lanes side by side, 2 for each seed", "task 0 (1 of 3)"]
    begun = [line for line in lines if line.startswith("training to step")]
    assert begun == [*["training to step 2: compiling ..."] * 2, "training to step 2"]


@pytest.fixture
def leave(monkeypatch):
    """leave() -> what a launch of `train` answers that is asked to stop."""
    asked = []

    @contextlib.contextmanager
    def signals(leave):
        asked.append(leave)
        yield lambda: False

    monkeypatch.setattr(cli_streams, "stop_signals", signals)
    return lambda: asked[-1]()


def test_a_launch_can_be_left_at_once_between_two_tasks_and_until_the_first_steps(tmp_path, capsys, monkeypatch, leave):
    out = tmp_path / "stream"

    def learn(config, stream, folder, *, stopping, progress, allow_fallback):
        shown = progress(0)
        shown.began, shown.advanced = 0, True
        assert not leave()
        assert progress(1) is shown and leave()
        (folder / "task_1").mkdir(parents=True)
        shown.began = 40
        assert leave()
        record(folder / "task_1", "end", status="stopped", step=60)
        return "stopped", 1

    monkeypatch.setattr(streams, "train", learn)
    assert main.main(["train", "digits_stream", *TINY, "--out", str(out)]) == 75
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("stopped")] == [
        f"stopped in task 1{at}: repeat the command to go on" for at in ("", " at step 40", " at step 60")
    ]
    assert [row["step"] for row in read_launches(out / "task_1")] == [40, 60]


def test_a_stream_that_is_stopped_says_in_which_task_and_at_which_step(tmp_path, capsys, monkeypatch):
    train = streams.train

    def until_task_1(config, stream, folder, *, stopping, progress, allow_fallback):
        rows = folder / "task_1" / "metrics.jsonl"
        return train(config, stream, folder, stopping=lambda: bool(read_metrics(rows)), progress=progress)

    monkeypatch.setattr(streams, "train", until_task_1)
    words = ["train", "digits_stream", *TINY, "--train.num-steps", "4", "--train.chunk-steps", "1"]
    assert main.main([*words, "--out", str(tmp_path / "stream")]) == 75
    assert "stopped in task 1 at step 1: repeat the command to go on\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["evaluate {}", "generate {} --prompt a", "generate {} --text a", "plot positions {}", "compare {} {}/.."]
)
def test_one_task_of_a_stream_is_named_with_the_command_that_takes_the_stream(learned, capsys, line):
    assert main.main(line.replace("{}", str(learned / "task_0")).split()) == 2
    said = f"task_0 holds one task of a stream, and only `evaluate` reads a stream: python run.py evaluate {learned}\n"
    assert capsys.readouterr().err == f"error: {learned}/{said}"


def test_what_is_not_learned_to_its_end_is_known_before_anything_is_built(learned, tmp_path, capsys, monkeypatch):
    half = shutil.copytree(learned, tmp_path / "half")
    shutil.rmtree(half / "task_1")
    monkeypatch.setattr(cli_streams, "_stream", None)
    assert main.main(["evaluate", str(half)]) == 2
    said = f"{half} holds a stream of which task 1 was not learned to its end: it is at step 0 of 2"
    assert said in capsys.readouterr().err


def test_a_folder_that_holds_another_order_or_is_asked_for_what_a_stream_has_not(learned, capsys):
    again = ["train", "digits_stream", "--continual.strengths", "0", "100", "--out", str(learned), *TINY]
    assert main.main([*again, "--continual.order", "1", "0"]) == 2
    assert "holds a run of another config (continual.order () there, (1, 0) here)" in capsys.readouterr().err
    assert main.main(["evaluate", str(learned), "--checkpoint", "latest"]) == 2
    assert "--checkpoint has no use with a stream of tasks" in capsys.readouterr().err
    assert main.main(["evaluate", str(learned), "--split", "tset"]) == 2
    assert "--split tset: there is no such split; did you mean test?" in capsys.readouterr().err
    missing = learned.parent / "missing"
    assert main.main(["evaluate", str(learned), str(missing)]) == 2
    assert capsys.readouterr().err == f"error: {missing} holds no run: there is no such folder\n"
    assert main.main(["compare", str(learned), str(learned.parent)]) == 2 and not list(learned.glob("*.html"))
    for words in (["plot", "attention", str(learned), "--text", "a"], ["generate", str(learned), "--prompt", "a"]):
        assert main.main(words) == 2
        assert "holds tasks learned one after another, not one run" in capsys.readouterr().err
