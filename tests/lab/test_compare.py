"""Two result folders beside each other: common cells, ratios, what only one holds, what differs."""

import numpy as np
import pytest

from transformer_jax.cli.main import main
from transformer_jax.config import Config, ConfigError, flatten
from transformer_jax.lab import compare, rows
from transformer_jax.lab.sweep import grid
from transformer_jax.train.log import claim

STUDY = grid({"model.mixer": ["attention", "lstm"], "task.seq_len": [64, 128]})
LEFT_OUT = {"model.mixer": "lstm", "task.seq_len": 128}


def folder_of(path, factor=lambda override: 1.0, study=STUDY, seed=0, base=None, rounds=6, **header):
    """A folder of results: times of one millisecond times the factor, with noise of 3 %."""
    rng, base = np.random.default_rng(seed), base or flatten(Config())
    path.mkdir()
    shared = {"kind": "header", "id": "h", "experiment": "tiny", "base": base, "studies": {"lengths": study}}
    machine = {"versions": {"jax": "0.10"}, "code": "c", "accept_stale": False, "device": "cpu", "threads": 2}
    rows.append(path / rows.FILE, shared | machine | header)
    for number, override in enumerate(study):
        for round_ in range(rounds):
            time = {"step_seconds": 1e-3 * factor(override) * float(np.exp(rng.normal(0, 0.03)))}
            status = {"status": "ok"} | time if factor(override) else {"status": "oom"}
            row = {"kind": "row", "key": f"k{number}", "round": round_, "header": "h"} | override | status
            rows.append(path / rows.FILE, row)
    return path


def lstm_slower(override):
    return 1.5 if override["model.mixer"] == "lstm" else 1.0


def of(*folders):
    before, *others = compare.read(folders)
    return [compare.compare(before, side) for side in others]


def test_the_common_cells_have_ratios_and_the_others_are_named(tmp_path):
    more = [o for o in STUDY if o != LEFT_OUT] + [{"model.mixer": "gru", "task.seq_len": 64}]
    (found,) = of(folder_of(tmp_path / "a"), folder_of(tmp_path / "b", lstm_slower, more, seed=1))
    assert found.counts == {"about equal": 2, "slower": 1} and found.name == "b"
    (slower,) = [cell for cell in found.shared if cell.verdict == "slower"]
    assert slower.label == "mixer=lstm seq_len=64" and slower.studies == ("lengths",)
    assert slower.ratio.low < 1.5 < slower.ratio.high
    assert found.only == (["mixer=lstm seq_len=128"], ["mixer=gru seq_len=64"])
    assert found.slower_than(1.1) == [slower] and not found.slower_than(1.6)


def test_how_often_and_from_where_does_not_part_cells_and_a_key_that_came_later_stands_at_its_base(tmp_path):
    later = flatten(Config()) | {"measure.rounds": 50, "task.data_dir": "elsewhere", "measure.repeat": 0}
    twins = [override | {"measure.repeat": repeat} for override in STUDY for repeat in (0, 1)]
    (found,) = of(folder_of(tmp_path / "a"), folder_of(tmp_path / "b", study=twins, base=later, seed=1))
    assert len(found.shared) == 4 and found.only[0] == []
    assert all(label.endswith("repeat=1") for label in found.only[1])


def test_a_cell_that_did_not_end_well_has_no_ratio_and_says_how_it_ended(tmp_path):
    broken = folder_of(tmp_path / "b", lambda o: 0 if o == LEFT_OUT else 1.0, seed=1)
    (found,) = of(folder_of(tmp_path / "a"), broken)
    (cell,) = [cell for cell in found.shared if cell.verdict == "ok → oom"]
    assert cell.label == "mixer=lstm seq_len=128" and cell.ratio.n == 0
    (both,) = of(broken, broken)
    assert both.counts["oom"] == 1


def test_what_differs_is_named_and_the_rest_is_not(tmp_path):
    base = flatten(Config()) | {"model.dropout_rate": 0.1}
    folders = folder_of(tmp_path / "a"), folder_of(tmp_path / "b", base=base, versions={"jax": "0.12"}, threads=8)
    table = compare.differences(compare.read(folders))
    assert table.rows == (
        ("threads", "2", "8"),
        ("version of jax", "0.10", "0.12"),
        ("model.dropout_rate", "0.0", "0.1"),
    )
    (found,) = of(*folders)
    assert not found.shared and [len(one) for one in found.only] == [4, 4]


def test_one_round_decides_nothing(tmp_path):
    (found,) = of(folder_of(tmp_path / "a", rounds=1), folder_of(tmp_path / "b", lambda o: 9.0, seed=1, rounds=1))
    assert found.counts == {"undecided": 4} and not found.slower_than(1.1)


def test_folders_that_cannot_be_compared(tmp_path):
    a, other = folder_of(tmp_path / "a"), folder_of(tmp_path / "b", experiment="other")
    untimed, empty = folder_of(tmp_path / "c", lambda o: 0), folder_of(tmp_path / "d", rounds=0)
    for folders, message in [
        ((a, other), "different experiments: tiny, other"),
        ((untimed, untimed), "measures no times"),
        ((a, empty), "d holds no rows"),
    ]:
        with pytest.raises(ConfigError, match=message):
            compare.read(folders)


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path):
    folders = [folder_of(tmp_path / "a"), tmp_path / "x" / "a"]
    folders[1].parent.mkdir()
    folder_of(folders[1])
    assert [side.name for side in compare.read(folders)] == list(map(str, folders))


def command(*arguments):
    return main(["compare", *map(str, arguments)])


def test_the_command_writes_a_page_prints_a_table_and_fails_only_when_asked_to(tmp_path, capsys):
    a, b = folder_of(tmp_path / "a"), folder_of(tmp_path / "b", lstm_slower, seed=1, commit="<script>")
    assert command(a, b) == 0
    text = capsys.readouterr().out
    assert "4 common cells: 2 about equal, 2 slower; 0 only in a, 0 only in b" in text
    assert "mixer=lstm seq_len=128" in text and str(a / "compare_b.html") in text
    page = (a / "compare_b.html").read_text()
    assert "<svg" in page and "mixer=lstm seq_len=128" in page and "<script>" not in page
    assert command(a, b, "--fail-above", "1.1") == 1
    assert "above 1.1: mixer=lstm seq_len=64" in capsys.readouterr().out
    assert command(a, b, "--fail-above", "1.7") == 0
    assert command(b, a, "--fail-above", "1.1") == 0  # faster
    c = folder_of(tmp_path / "c")
    page = tmp_path / "new" / "page.html"
    assert command(a, b, c, "--out", page) == 2
    assert f"--out {page}: there is no folder {page.parent}" in capsys.readouterr().err and not page.parent.exists()
    page.parent.mkdir()
    assert command(a, b, c, "--out", page) == 0
    assert "page.html" in capsys.readouterr().out and page.exists()


def test_folders_without_a_common_cell_are_refused_with_what_differs(tmp_path, capsys):
    a, other = folder_of(tmp_path / "a"), grid({"model.mixer": ["gru"], "task.seq_len": [1, 2, 4, 8, 16]})
    b = folder_of(tmp_path / "b", base=flatten(Config()) | {"model.dropout_rate": 0.1})
    c = folder_of(tmp_path / "c", study=other)
    for folder, differs in (
        (b, "a and b: model.dropout_rate is 0.0 in a, 0.1 in b\n"),
        (c, "holds mixer=attention seq_len=64, mixer=attention seq_len=128, mixer=lstm seq_len=64 and 1 more; c holds"),
    ):
        assert command(a, folder) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: no cell is common to a and ") and differs in error
    assert not list(tmp_path.rglob("*.html"))
    assert command(a, folder_of(tmp_path / "d"), c) == 0  # one of them can be compared


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "compare needs two folders"),
        (("nowhere",), "there is no folder nowhere"),
        (("other",), "other holds neither an experiment's results (rows.jsonl) nor a training run (config.json)"),
        (("run",), "a holds an experiment's results, run holds a training run: compare takes folders of one kind"),
        (("b", "x/../a"), "x/../a is a, named twice"),
        (("file",), "file is a file"),
        (("b", "--fail-above", "0"), "--fail-above 0.0: must be positive"),
        (("b", "--out", "."), "is a folder: name a file in it"),
        (("b", "--fail-abov", "1"), "no option --fail-abov; did you mean --fail-above?"),
    ],
)
def test_mistakes_end_with_code_2(tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "a"), folder_of(tmp_path / "b")
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir(), (tmp_path / "x").mkdir()
    a_training(tmp_path / "run")
    assert command("a", *more) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.html"))


def test_runs_of_which_one_has_made_no_step_are_not_drawn(tmp_path, capsys):
    for name in "ab":
        claim(tmp_path / name, Config())
    assert command(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "page.html") == 2
    said = f"error: no step was written down yet in {tmp_path}/a and {tmp_path}/b: there is no curve to draw\n"
    assert capsys.readouterr().err == said and sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def a_training(folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text("{}")


def test_a_folder_of_the_other_kind_is_named_with_the_command_that_takes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "a"), a_training(tmp_path / "run")
    for line, message in [
        ("report run", "run holds a training run: run/run.html is its page, and run.py evaluate run"),
        ("report nowhere", "there is no folder nowhere"),
    ]:
        assert main(line.split()) == 2
        text = capsys.readouterr().err
        assert message in text and text.count("error") == 1


def test_the_figure_of_a_large_study_shows_what_is_farthest_from_equal(tmp_path):
    study = grid({"task.seq_len": list(range(1, 61))})
    folders = folder_of(tmp_path / "a", study=study), folder_of(tmp_path / "b", lambda o: o["task.seq_len"], study, 1)
    sides = compare.read(folders)
    report = compare.report(sides, [compare.compare(*sides)])
    (figure,) = report.figures
    assert figure.title == "Study lengths" and "The 40 of 60 cells" in figure.caption
    (cells,) = [table for table in report.tables if table.title.startswith("Every common cell")]
    assert len(cells.rows) == 60 and cells.rows[0][0] == "seq_len=60"
