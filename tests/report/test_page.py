"""The written folder: one escaped page that asks the network for nothing, a CSV, figures, all or none of each."""

import csv
import re
from pathlib import Path

import pytest

from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.report import Figure, Finding, Report, Rule, Table, Verdict, digest, write
from transformer_jax.report.findings import undrawn
from transformer_jax.report.page import unfinished, write_page

EVIL = '<script>alert("x")</script>'


def draw(canvas):
    axes = canvas.subplots()
    axes.plot([1, 2], [3, 4], marker="o", label=EVIL)
    axes.set_title(f"{EVIL} costs $5 & $6")
    axes.legend()


def evil_report():
    figure = Figure("evil", EVIL, EVIL, draw, size=(3, 2))
    table = Table(EVIL, (EVIL, "number"), ((EVIL, 1.0), (None, 2)), note=EVIL)
    rule = Rule(EVIL, lambda estimates: Verdict.SUPPORTED)
    found = {EVIL: Estimate(1, 0, 2, 3)}
    findings = (Finding(EVIL, EVIL, found, rule), Finding(EVIL, EVIL, found, judge=lambda estimate: EVIL))
    return Report(EVIL, findings, (figure,), (table,), (EVIL,))


def evil_rows():
    row = {"key": EVIL, "round": 0, "header": "h1", "model.mixer": EVIL, "step_seconds": 1.0, "status": "ok"}
    return [
        row,
        row | {"status": "failed", "model.mixer": "lstm", "message": EVIL, "traceback": EVIL, "step_seconds": None},
        row | {"round": 1, "step_seconds": 2.0},
    ]


@pytest.fixture(scope="module")
def evil_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evil")
    header = {"kind": "header", "id": "h1", "note": EVIL, "versions": {EVIL: EVIL}, "base": {"model.mixer": EVIL}}
    write(folder, evil_report(), [header], evil_rows())
    return folder


def test_markup_in_names_messages_and_figures_stays_text(evil_folder):
    page = (evil_folder / "report.html").read_text()
    assert "<script" not in page.lower()
    assert page.count("&lt;script&gt;") > 10
    assert "costs $5 &amp; $6" in page


def test_the_page_refers_to_nothing_outside_itself(evil_folder):
    page = (evil_folder / "report.html").read_text()
    assert not re.search(r"https?:|//\w|\bsrc=|@import|<link|<iframe", page)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', page))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_ids_are_unique_and_every_reference_has_its_target(tmp_path):
    figures = tuple(Figure(name, name, "", draw, size=(3, 2)) for name in ("one", "two"))
    write(tmp_path, Report("t", figures=figures), [], [])
    page = (tmp_path / "report.html").read_text()
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_the_csv_has_a_line_for_each_cell_failures_included(evil_folder):
    with (evil_folder / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["status"] for line in lines] == ["ok", "failed"]
    assert lines[0]["step_seconds_median"] == "1.5" and lines[1]["message"] == EVIL


def test_figures_are_written_as_svg_and_png_and_nothing_is_left_over(evil_folder):
    names = sorted(str(path.relative_to(evil_folder)) for path in evil_folder.rglob("*") if path.is_file())
    assert names == ["figures/evil.png", "figures/evil.svg", "report.html", "rows.csv"]
    assert (evil_folder / "figures/evil.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (evil_folder / "figures/evil.svg").read_text()


def test_writing_again_gives_the_same_bytes_and_drops_figures_that_are_no_longer_drawn(tmp_path):
    write(tmp_path, evil_report(), [], evil_rows())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write(tmp_path, evil_report(), [], evil_rows())
    assert {path: path.read_bytes() for path in before} == before
    write(tmp_path, Report("t"), [], evil_rows())
    assert not list((tmp_path / "figures").iterdir())


def test_a_failure_while_drawing_leaves_the_old_report_whole(tmp_path):
    write(tmp_path, evil_report(), [], evil_rows())
    before = (tmp_path / "report.html").read_bytes()

    def interrupted(canvas):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, Report("t", figures=(Figure("new", "", "", interrupted),)), [], [])
    assert (tmp_path / "report.html").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["evil.png", "evil.svg"]


def test_the_home_folder_and_secret_values_do_not_appear(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", "hunter2hunter2")
    secret = f"File {Path.home()}/project/x.py: hunter2hunter2"
    row = {"key": "k", "round": 0, "status": "failed", "message": secret, "traceback": secret, "header": "h"}
    write(tmp_path, Report("t"), [{"id": "h", "command": secret}], [row])
    for name in ("report.html", "rows.csv"):
        text = (tmp_path / name).read_text()
        assert f"{Path.home()}/" not in text and "hunter2" not in text


def test_no_rows_at_all_still_give_a_page(tmp_path):
    write(tmp_path, Report("Nothing"), [], [])
    page = (tmp_path / "report.html").read_text()
    assert "No finding" in page and "Every cell (0)" in page


def test_the_page_opens_with_question_and_answers_and_then_the_figures(evil_folder):
    page = (evil_folder / "report.html").read_text()
    body = page[page.index("<body>") :]
    places = [body.index(part) for part in ("<h1>", 'id="answers"', "1.00 [", "SUPPORTED", "<figure", "<details>")]
    assert places == sorted(places)
    assert "<details open" not in page and "Every cell (2)" in page


def test_a_rule_that_changed_after_the_first_row_is_named(tmp_path):
    def rule(text):
        return Rule(text, lambda estimates: Verdict.SUPPORTED)

    report = Report("t", (Finding("Is it so?", "", {"a": Estimate(1, 0, 2, 3)}, rule("now")),))
    row = {"key": "k", "round": 0, "status": "ok", "header": "h1"}
    headers = [{"id": "h1", "rules": {"r": digest(rule("now"))}}, {"id": "h2", "rules": {"r": digest(rule("before"))}}]
    write(tmp_path, report, headers, [row])
    assert "was changed" not in (tmp_path / "report.html").read_text()
    write(tmp_path, report, headers, [row, row | {"header": "h2", "round": 1}])
    assert (
        "The rule of “Is it so?” was changed after the first row was measured."
        in (tmp_path / "report.html").read_text()
    )
    write(tmp_path, report, [{"id": "h1"}], [row])
    assert "was changed" not in (tmp_path / "report.html").read_text()


def test_any_page_can_be_written_to_a_path(tmp_path):
    path = write_page(tmp_path / "run.html", Report(EVIL), facts=[("Config", {EVIL: [1, EVIL]})])
    page = path.read_text()
    assert "<script" not in page and "Config" in page and [p.name for p in tmp_path.iterdir()] == ["run.html"]


def test_a_table_refuses_rows_that_do_not_fit_its_columns():
    with pytest.raises(ValueError, match="2 columns"):
        Table("t", ("a", "b"), ((1,),))


def test_a_column_that_is_empty_in_all_answers_is_not_shown(tmp_path):
    def heads(*findings, **columns):
        page = write_page(tmp_path / "page.html", Report("t", findings, **columns)).read_text()
        assert page.count('<td class="question">') == len(findings)
        return re.findall("<th>([^<]*)</th>", re.search("<thead>.*?</thead>", page)[0])

    whole = Finding("Is it so?", "It is.", {"a": Estimate(1, 0, 2, 3)}, word="so")
    assert heads(whole, Finding("And so?", "")) == ["question", "answer", "number [95 % interval]", "verdict"]
    assert heads(Finding("Is it so?", "It is.")) == ["question", "answer"]
    assert heads(Finding("One", "", {"a": NOTHING}), heads=("what", "b", "which", "d")) == ["what", "which"]


def test_a_line_does_not_break_within_a_word_of_a_command(tmp_path):
    note = "Go on with <it>: run.py experiment tiny --only a=1 --out runs/x"
    page = write_page(
        tmp_path / "page.html", Report("t", [Finding("?", "No. run.py claims")], notes=[note])
    ).read_text()
    words = re.findall('<span class="word">(.*?)</span>', page)
    assert words == ["run.py", "claims", "run.py", "experiment", "tiny", "--only", "a=1", "--out", "runs/x"]
    assert "Go on with &lt;it&gt;: <span" in page and re.search(r"\.word {[^}]*inline-block", page)


def test_setting_and_notes_stand_around_the_answers_and_limits_are_folded_away(tmp_path):
    finding = Finding("Is it so?", "It is.", {"a": Estimate(1, 0, 2, 3)}, word="undecided")
    report = Report("t", (finding,), setting="A model.", notes=("How to read it.",), limits=("What holds.",))
    header = {"id": "h", "device": "cpu", "cpu_model": "a processor", "threads": 2, "versions": {"jax": "1"}}
    write(tmp_path, report, [header], [])
    page = (tmp_path / "report.html").read_text()
    parts = (
        "A model. Measured on cpu (a processor, 2 threads), jax 1.",
        "It is.",
        "How to read it.",
        "<details>",
        "What",
    )
    places = [page.index(part) for part in parts]
    assert places == sorted(places) and finding.open


def test_a_figure_with_a_narrow_size_is_in_the_page_twice_and_its_ids_stay_apart(tmp_path):
    write(tmp_path, Report("t", figures=(Figure("one", "one", "", draw, (3, 2), (2, 2)),)), [], [])
    page = (tmp_path / "report.html").read_text()
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert page.count("<svg") == 2 and 'class="narrow"' in page and len(ids) == len(set(ids))
    assert len(list((tmp_path / "figures").iterdir())) == 2


def test_measured_cells_that_no_figure_shows_are_named():
    row = {"round": 0, "status": "ok", "step_seconds": 1.0}
    rows = [row | {"key": key, "task.seq_len": T} for key, T in (("a", 1), ("b", 2))]
    table = undrawn(rows, [Figure("one", "", "", draw, keys=frozenset("a")), None])
    assert table.title == "Measured, and in no figure (1)" and undrawn(rows, []).rows == ((1, 1.0), (2, 1.0))


def planned_header():
    lengths = [{"task.seq_len": t} for t in (64, 128, 256)]
    base = {"model.mixer": "lstm", "task.seq_len": 64, "measure.rounds": 5}
    return {
        "kind": "header",
        "id": "h1",
        "versions": {},
        "base": base,
        "studies": {"length": lengths, "depth": lengths[:1]},
    }


def measured(length, **columns):
    return {"key": str(length), "round": 0, "header": "h1", "status": "ok", "model.mixer": "lstm", "measure.rounds": 9,
            "task.seq_len": length, "loss": 1.0} | columns  # fmt: skip


def test_a_page_of_a_run_that_is_not_finished_counts_the_cells_that_have_no_row(tmp_path):
    def warned(*lengths):
        write(tmp_path, Report("q"), [planned_header()], [measured(length) for length in lengths])
        return re.findall(r'class="warning">([^<]*)<', (tmp_path / "report.html").read_text())

    assert warned(128) == ["Not finished: 2 of the plan&#39;s 3 cells have no row yet (length 2 of 3, depth 1 of 1)."]
    assert warned(64) == ["Not finished: 2 of the plan&#39;s 3 cells have no row yet (length 2 of 3)."]
    assert warned(64, 128, 256) == []


def test_a_run_whose_clock_has_not_ended_it_was_stopped_after_so_many_whole_passes(tmp_path):
    def warned(rounds, cells=(64, 128, 256), **columns):
        rows = [measured(length, round=r) for length, n in zip(cells, rounds, strict=True) for r in range(n)]
        return unfinished([planned_header() | columns], rows)

    budget, stopped = {"budget_seconds": 90.0}, "The run was stopped before its time was over, after {}: repeat the"
    assert warned((3, 2, 2)) == []  # a number of rounds ends it
    for rounds, passes in (((3, 2, 2), "2 whole passes"), ((2, 1, 2), "1 whole pass")):
        assert warned(rounds, **budget) == [f"{stopped.format(passes)} command to go on."]
    stands, missing = warned((1, 1), (64, 128), **budget)
    assert "after 0 whole passes" in stands and "1 of the plan's 3 cells have no row yet" in missing
    assert warned((2, 2, 2), **budget, ended={"budget_seconds": 90.0}) == []
    assert warned((2, 2, 2), **budget, ended={"budget_seconds": 60.0}) != []  # a larger one went on after it
    failed = [measured(64), measured(128, status="oom"), measured(256), measured(64, round=1), measured(256, round=1)]
    assert "after 2 whole passes" in unfinished([planned_header() | budget], failed)[0]


def test_a_cell_that_gave_no_finite_number_names_the_column(tmp_path):
    lost = measured(128, status="nan", loss=None, note=None)
    write(tmp_path, Report("q"), [], [measured(64), lost])
    page = (tmp_path / "report.html").read_text()
    assert re.search(
        r"<summary>nan: seq_len=128</summary>\s*<table[^>]*><tr><th>no finite number in</th><td>loss</td>", page
    )
