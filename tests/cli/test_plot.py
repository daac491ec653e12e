"""`plot`: which pictures are written, and how mistakes end."""

import numpy as np
import pytest

from transformer_jax.cli import main
from transformer_jax.lab import inside
from transformer_jax.tasks import registry


def command(*words):
    return main.main([str(word) for word in words])


@pytest.fixture(scope="module")
def folders(trained_run):
    """A translation with learned positions, its recurrent twin, and a run without text."""
    (folder,) = {trained_run(name).parent for name in ("one", "twin", "recall")}
    return folder


def test_positions_need_no_run(tmp_path, capsys):
    assert command("plot", "positions", "--out", tmp_path / "a" / "b", "--d-model", 6, "--length", 5) == 0
    names = ["positions.png", "wavelengths.png", "positions_alike.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "a" / "b" / name) for name in names]
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == set(names)


def test_a_run_is_looked_into(folders, tmp_path, capsys):
    task = registry.build(inside.trained.read_config(folders / "one"))
    text = task.translation.pairs("validation")[0][0]
    found = inside.look(folders / "one", registry.build, text)
    assert found.tokens == [*text.split(), "<end>"]
    np.testing.assert_allclose(found.weights_NxHxLxL.sum(-1), 1, atol=1e-5)
    assert found.vectors_NxLxD.shape == (2, len(found.tokens), 8)
    assert inside.learned_positions(folders / "one", registry.build).shape == (7, 8)
    for words, name in (
        (["attention", folders / "one", "--text", text], "attention"),
        (["vectors", folders / "one", "--prompt", text], "vectors"),
        (["positions", folders / "one"], "learned_alike"),
    ):
        assert command("plot", *words, "--out", tmp_path) == 0
        assert capsys.readouterr().out == f"{tmp_path / f'{name}.png'}\n"


def test_a_runs_page_shows_what_its_model_has(folders):
    for name, pictures in (("one", ["learned_alike", "attention", "vectors"]), ("twin", []), ("recall", [])):
        assert [figure.name for figure in inside.figures(folders / name, registry.build)] == pictures
        page = (folders / name / "run.html").read_text()
        for name, title in (("attention", "What each token looks at"), ("vectors", "How alike tokens are")):
            assert (title in page) == (name in pictures)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plot", "plot needs WHAT: positions, attention or vectors"),
        ("plot atention", "no picture 'atention'; did you mean attention?"),
        ("plot attention", "plot attention needs the folder of a run: plot attention FOLDER --text TEXT"),
        ("plot vectors {runs}/one", "plot vectors needs --text"),
        ("plot positions --text a", "--text has no use with plot positions"),
        ("plot vectors {runs}/one --text a --prompt a", "--prompt and --text are both the text that the model reads"),
        ("plot positions {runs}/one --length 9", "--length has no use with plot positions"),
        ("plot attention {runs}/one --text a --d-model 9", "--d-model has no use with plot attention"),
        ("plot positions --length 0", "--length 0: must be at least 1"),
        ("plot positions {runs}/twin", "model.position=none, and learned positions are drawn"),
        ("plot attention {runs}/twin --text a", "cannot be looked into: gru with a source"),
        ("plot attention {runs}/recall --text a", "holds a run on associative_recall, which reads no text"),
        ("plot attention {runs}/one --text ?", "--text: "),
        ("plot attention nowhere --text a", "nowhere holds no run: there is no such folder"),
        ("plot positions --out /proc/x", "--out /proc/x/positions.png cannot be written"),
    ],
)
def test_mistakes_end_with_code_2_and_one_message(folders, monkeypatch, tmp_path, capsys, line, message):
    monkeypatch.chdir(tmp_path)
    assert command(*line.format(runs=folders).split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and "Traceback" not in error
    assert not list(tmp_path.iterdir())
