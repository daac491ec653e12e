"""Long dependencies: a cell tests what it trained at several lengths, and the rule decides from planted steps."""

import importlib.util
import itertools
from pathlib import Path

import pytest

from experiments.long_range import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import equal_seconds, plan
from transformer_jax.lab.sweep import Job, parse
from transformer_jax.report import digest, write

PATH = Path(__file__).parents[2] / "experiments" / "long_range" / "report.py"
spec = importlib.util.spec_from_file_location("long_range_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

SHORT = {"train.num_steps": 4, "train.warmup_steps": 1, "train.chunk_steps": 2, "train.eval_every": 2}
SHORT |= {"train.checkpoint_every": 4, "train.lanes": 2, "model.num_layers": 1, "task.seq_len": 8}


@pytest.mark.parametrize(
    ("study", "place", "metric"),
    [("parity", 0, "accuracy"), ("adding", -2, "mse")],
)
def test_a_cell_gives_a_row_for_each_lane_and_length(tmp_path, monkeypatch, study, place, metric):
    monkeypatch.setattr(cells, "RATES", (1e-3, 1e-2))
    override = cells.STUDIES[study][place]
    config = with_overrides(cells.BASE, override | SHORT | {"task.batch_size": 8})
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    assert [(row["longer"], row["lane"]) for row in rows] == [
        *itertools.product(cells.FACTORS[override["task.name"]], (0, 1))
    ]
    assert all(row["step"] == 4 and row[metric] >= 0 and row["rate"] in cells.RATES for row in rows)
    assert {row["solved_step"] for row in rows} == {None} and {row["rate_at_edge"] for row in rows} == {True}
    assert len({row["loss"] for row in rows}) == len(rows)
    assert cells.cell(config, Job(0, tmp_path / "cell", 0)) == rows  # what is done is not trained again


def test_a_cell_counted_in_seconds_is_tested_after_the_steps_that_fit_in_them(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "RATES", (1e-3, 1e-2))
    measured = {"step_seconds_ratio": 1.9, "step_seconds_ratio_low": 1.8, "step_seconds_ratio_high": 2.0}
    monkeypatch.setattr(equal_seconds, "_measured", lambda *_: measured | {"attention_step_seconds": 0.1})
    override = cells.STUDIES["parity"][-1] | SHORT | {"task.batch_size": 8, "measure.matching": "seconds"}
    rows = cells.cell(with_overrides(cells.BASE, override), Job(0, tmp_path, 0))
    assert len(rows) == 2 * len(cells.FACTORS["parity"])
    assert {row["step"] for row in rows} == {row["trained_steps"] for row in rows}
    assert {row["step"] for row in rows} == {2} and all(row.items() >= measured.items() for row in rows)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task.name": "associative_recall"}, "this experiment runs on adding, listops, copy_memory"),
        ({"model.max_len": 256}, "model.max_len=256: adding is tested at up to 400 steps"),
        ({"train.num_steps": 100}, "train.num_steps=100: a rate is chosen in half, and its warm-up takes longer"),
        ({"model.position": "learned"}, "what training did not reach has no vector"),
    ],
)
def test_what_cannot_be_tested_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


def test_cells_are_chosen_and_swept_as_those_of_others():
    assert {cell.studies for cell in plan.plan(cells)} == {(name,) for name in page.TASKS}
    chosen = plan.plan(cells, wanted=parse("--only", ["name=adding,parity", "mixer=gru"]))
    assert {cell.config.task.name for cell in chosen} == {"adding", "parity"} and len(chosen) == 2
    swept = plan.plan(cells, swept=parse("--sweep", ["mixer=min_gru"]))
    assert {cell.config.model.mixer for cell in swept} == {"min_gru"}
    with pytest.raises(ConfigError, match="--sweep seq_len: .* along mixer, position alone"):
        plan.plan(cells, swept=parse("--sweep", ["seq_len=16"]))
    with pytest.raises(ConfigError, match="train.peak_lr: it changes nothing"):
        plan.plan(cells, {"train.peak_lr": 0.1})


def planted(attention, recurrences, lanes=5, without=()):
    """Steps at which every seed solves a task, by (task, reader); None: it does not. What is solved is kept."""
    found = []
    for name in page.TASKS:
        for number, override in enumerate(cells.STUDIES[name]):
            config = flatten(with_overrides(cells.BASE, override))
            mixer, position = config["model.mixer"], config["model.position"]
            solved = attention(name, position) if mixer == "attention" else recurrences(name, mixer)
            if (name, mixer) in without:
                continue
            for part, (longer, lane) in enumerate(itertools.product(cells.FACTORS[name], range(lanes))):
                step = solved[lane] if isinstance(solved, tuple) else solved
                score = {"mse": 0.005 if step else 0.1} if name == "adding" else {"accuracy": 0.999 if step else 0.5}
                found.append(config | score | {
                    "status": "ok", "round": 0, "part": part, "key": f"{name}{number}", "studies": (name,),
                    "header": "h", "lane": lane, "longer": longer, "step": 600, "solved_step": step, "rate": 1e-3,
                    "loss": 0.1, "rate_at_edge": number == 0 and name == "parity", "parameters": 17000,
                })  # fmt: skip
    return found


def far(name):
    return name in ("adding", "copy_memory")


def verdict(rows):
    return page.report(rows).answers[0].verdict


def test_the_rule_decides():
    assert verdict(planted(lambda *_: 100, lambda *_: None)) == "SUPPORTED"
    assert verdict(planted(lambda *_: None, lambda *_: 300)) == "REFUTED"
    differ = planted(lambda name, _: 100 if far(name) else None, lambda name, _: None if far(name) else 100)
    assert verdict(differ) == "TASK-DEPENDENT"
    assert verdict(planted(lambda *_: 100, lambda *_: 100)) == "INCONCLUSIVE"  # too easy to tell
    assert verdict(planted(lambda *_: None, lambda *_: None)) == "INCONCLUSIVE"  # too hard for so few steps
    assert verdict(planted(lambda name, _: 100 if far(name) else None, lambda *_: None)) == "INCONCLUSIVE"


def test_who_wins_did_so_by_half_of_the_steps_of_those_who_fail():
    assert verdict(planted(lambda *_: None, lambda *_: 325)) == "INCONCLUSIVE"
    late = planted(lambda name, _: 325 if name == "adding" else 100, lambda *_: None)
    assert verdict(late) == "INCONCLUSIVE"


def test_one_model_of_a_side_is_enough_and_four_of_its_five_seeds():
    def one(reader):
        return lambda name, other: (100, 75, 125, None, 200) if other == reader else None

    found = page.report(planted(one("rotary"), lambda *_: None)).answers[0]
    assert found.verdict == "SUPPORTED" and found.estimates["parity: attention"].value == 200
    assert found.numbers[1] == "adding: recurrences: above 600"
    assert verdict(planted(lambda *_: (100, 100, 100, None, None), lambda *_: None)) == "INCONCLUSIVE"
    assert verdict(planted(lambda *_: None, one("lstm"))) == "REFUTED"


def copies(attention, recurrences, **more):
    """The finding on copying alone, where all other tasks say the reverse."""
    rows = planted(lambda name, _: attention if name == "copy_memory" else None,
                   lambda name, _: recurrences if name == "copy_memory" else 100, **more)  # fmt: skip
    return page.report(rows).answers[2]


def test_copying_has_a_rule_of_its_own():
    found = copies(100, None)
    assert found.verdict == "SUPPORTED"
    assert found.numbers == ["copying: attention: 100", "copying: recurrences: above 600"]
    assert copies((100, 75, 125, None, 200), (None, 100, 200, 300, None)).verdict == "SUPPORTED"
    assert copies(None, 100).verdict == "REFUTED"
    assert copies(100, 300).verdict == copies(None, None).verdict == "INCONCLUSIVE"
    assert copies(325, None).verdict == copies(None, 325).verdict == "INCONCLUSIVE"  # after half of the steps
    assert copies((100, 100, 100, None, None), None).verdict == "INCONCLUSIVE"
    assert copies(100, None, lanes=4).verdict == "INCONCLUSIVE"
    assert copies(100, None, without=[("copy_memory", "lstm")]).verdict == "INCONCLUSIVE"
    alone = [row for row in planted(lambda *_: 100, lambda *_: None) if row["task.name"] == "copy_memory"]
    verdicts = [finding.verdict for finding in page.report(alone).answers]
    assert verdicts == ["INCONCLUSIVE", "", "SUPPORTED"]


def test_the_full_size_has_more_tasks_longer_delays_and_as_many_flops_and_seconds():
    full, found = plan.load("long_range", size="full"), []
    planned = plan.plan(full.cells, studies=full.studies)
    assert len(planned) == 70
    for cell in planned:
        config = flatten(cell.config)
        solved = 500 if config["model.mixer"] == "attention" else None
        ratio = {"step_seconds_ratio": 25.0, "step_seconds_ratio_low": 24.0, "step_seconds_ratio_high": 26.0}
        in_seconds = ratio | {"step": 800, "trained_steps": 800}
        steps = in_seconds if config["measure.matching"] == "seconds" else {"step": 20_000}
        found += [config | {"status": "ok", "round": 0, "part": lane, "key": cell.identity, "header": "h",
                            "studies": cell.studies, "lane": lane, "longer": 1, "accuracy": 0.9,
                            "solved_step": solved, **steps} for lane in range(5)]  # fmt: skip
    answers = page.report(found).answers
    assert [finding.verdict for finding in answers] == ["SUPPORTED"] * 3 + ["", "SUPPORTED", ""]
    assert answers[1].numbers == answers[2].numbers and "parity: recurrences: above 20,000" in answers[2].numbers
    assert answers[4].numbers == ["copying: attention: 500", "copying: recurrences: above 20,000"]
    assert list(answers[5].estimates) == [
        f"{task}: {side}"
        for task in ("selective_copying", "s5_words", "listops", *(f"copying over {n} blanks" for n in (100, 200)))
        for side in page.SIDES
    ]
    assert {one.value for one in list(answers[5].estimates.values())[::2]} == {500}
    assert "copying over 200 blanks: recurrences: above 20,000" in answers[5].numbers
    (text,) = (limit for limit in page.report(found).limits if "at once" in limit)
    assert "a step of 5 seeds at once" in text and "25 to 25 times" in text


def test_what_is_missing_or_failed_decides_nothing_and_breaks_nothing():
    assert verdict([]) == "INCONCLUSIVE"
    assert verdict(planted(lambda *_: 100, lambda *_: None, lanes=4)) == "INCONCLUSIVE"
    rows = planted(lambda *_: 100, lambda *_: None, without=[("parity", "lstm")])
    assert verdict(rows) == "INCONCLUSIVE"
    (config,) = (row for row in planted(lambda *_: 1, lambda *_: 1) if row["key"] == "parity4" and not row["part"])
    failed = {key: value for key, value in config.items() if "." in key} | {"studies": ("parity",), "status": "timeout"}
    assert verdict([*rows, failed | {"round": 0, "key": "parity4", "header": "h"}]) == "INCONCLUSIVE"


def test_a_lane_without_a_number_ends_no_other():
    rows = planted(lambda *_: 100, lambda *_: None)
    astray = {"status": "nan", "accuracy": None, "mse": None, "loss": None, "solved_step": None}
    for row in rows:
        if (row["model.mixer"], row["model.position"]) == ("attention", "rotary"):
            row["status"] = "nan"  # of the cell
            if row["lane"] == 3:
                row |= {key: value for key, value in astray.items() if key in row}
    report = page.report(rows)
    assert report.answers[0].verdict == "SUPPORTED"
    kept = report.answers[1]
    assert kept.estimates["parity: attention, rotary"] == kept.estimates["parity: attention, none"]._replace(n=4)
    assert "parity: attention, none: 0.999 kept" in kept.numbers[0]
    assert "parity: lstm" not in kept.estimates


def test_more_rounds_are_more_seeds():
    rows = planted(lambda *_: 100, lambda *_: None)
    report = page.report(rows + [row | {"round": 1} for row in rows])
    assert report.answers[0].estimates["adding: attention"].n == 10 and report.tables[0].columns[-1] == "10"


def test_more_rounds_of_one_model_change_nothing():
    rows = planted(lambda *_: 300, lambda _, mixer: 100 if mixer == "lstm" else None)
    again = [row | {"round": 1} for row in rows if row["model.mixer"] == "lstm"]
    assert page.report(rows + again).answers[0].verdict == page.report(rows).answers[0].verdict
    found = page.report(rows + again).answers[0].estimates["parity: recurrences"]
    assert (found.value, found.n) == (100, 10)


def test_the_page_shows_every_seed_and_which_rates_were_an_edge(tmp_path):
    rows = planted(lambda *_: (100, 75, 125, None, 200), lambda *_: None)
    report = page.report(rows)
    assert "parity by attention, none." in report.notes[0] and len(report.notes) == 1
    steps, scores, *_ = report.tables
    assert len(steps.rows) == 25 and steps.columns[2:] == ("1", "2", "3", "4", "5") and len(scores.rows) == 125
    rules = {name: digest(rule) for name, rule in page.RULES.items()}
    write(tmp_path, report, [{"id": "h", "rules": rules}], rows)
    text = (tmp_path / "report.html").read_text()
    assert "SUPPORTED" in text and "was changed" not in text
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"accuracy_by_length", "steps_by_seed"}
