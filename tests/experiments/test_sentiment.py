"""The experiment on sentiment: every contender gives its rows, on sets of a few sentences, and the rules decide."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from experiments.sentiment import cells
from transformer_jax.cli.main import main
from transformer_jax.config import flatten, with_overrides
from transformer_jax.lab import plan, trained
from transformer_jax.lab.sweep import Job
from transformer_jax.report import digest, write
from transformer_jax.tasks import labelled, prepare, sets

PATH = Path(__file__).parents[2] / "experiments" / "sentiment" / "report.py"
spec = importlib.util.spec_from_file_location("sentiment_report", PATH)
report = importlib.util.module_from_spec(spec)
spec.loader.exec_module(report)

SHORT = {
    "train.num_steps": 8,
    "train.chunk_steps": 4,
    "train.eval_every": 4,
    "train.checkpoint_every": 4,
    "task.name": "films",
    "task.seq_len": 6,
    "task.bucket_lengths": (),
    "task.batch_size": 8,
    "task.vocab_size": 60,
    "model.d_model": 16,
    "model.head_dim": 16,
    "model.mlp_dim": 8,
}


@pytest.fixture
def films(tmp_path, monkeypatch):
    """The config of a cell on 200 labelled sentences; one word says which class."""
    path, data = tmp_path / "films.tsv", tmp_path / "data"
    rows = "".join(f"film {n % 40} is {('poor', 'rich')[n % 2]} {n}\t{n % 2}\n" for n in range(200))
    path.write_text("text\tlabel\n" + rows)
    prepare.prepare_own("labelled", "films", path, data)
    monkeypatch.setenv("TFDS_DATA_DIR", str(data))
    return lambda **override: with_overrides(cells.BASE, SHORT | override)


def job(folder, number=0):
    return Job(seed=1000 * number, folder=folder, round=number)


def test_a_bag_of_bigrams_learns_what_one_word_says_and_has_no_seed(films, tmp_path):
    config = films(**{"measure.contender": "tfidf"})
    (row,) = cells.cell(config, job(tmp_path / "cell"))
    assert (row["step"], row["best"], row["accuracy"]) == (0, True, 1.0) and row["parameters"] > 10
    assert cells.cell(config, job(tmp_path / "cell", number=2)) == [row]
    assert not (tmp_path / "cell").exists()


@pytest.mark.parametrize("contender", cells.NETWORKS)
def test_a_network_gives_its_curve_and_its_best_checkpoint(films, tmp_path, contender):
    config = films(**{"measure.contender": contender})
    rows = cells.cell(config, job(tmp_path / "cell", number=1))
    assert [row["step"] for row in rows] == [4, 8] and sum(row["best"] for row in rows) == 1
    (best,) = (row for row in rows if row["best"])
    assert best["accuracy"] == max(row["accuracy"] for row in rows)
    described = trained.describe(tmp_path / "cell", labelled.build)
    assert described["parameters"] == best["parameters"]
    assert described["mixer"] == ("lstm" if contender == "bilstm" else "attention")
    assert cells.cell(config, job(tmp_path / "cell", number=1)) == rows  # what is done is not trained again


def test_the_lstm_has_the_encoders_parameters(films, tmp_path):
    count = {
        name: cells.cell(films(**{"measure.contender": name}), job(tmp_path / name))[0]["parameters"]
        for name in ("encoder", "bilstm")
    }
    assert abs(count["bilstm"] / count["encoder"] - 1) <= 0.02


def test_the_data_are_part_of_a_row(films, tmp_path):
    assert cells.data(films()) == dict(sets.open_set("films", tmp_path / "data").info.metadata["sha256"])


def test_a_task_without_labelled_texts_is_refused_before_anything_runs(films, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["experiment", "sentiment", "--task.name", "digits", "--out", str(out)]) == 2
    assert "task.name=digits: labelled texts are imdb, sst2, or a set of your own" in capsys.readouterr().err
    assert not list(out.glob("*"))


def test_the_plan_has_every_contender_on_the_base_of_the_encoder():
    planned = plan.plan(cells)
    assert [cell.config.measure.contender for cell in planned] == ["tfidf", *cells.NETWORKS]
    flat = flatten(planned[0].config)
    assert (flat["model.pooling"], flat["train.optimizer"], flat["train.patience"]) == ("max", "rmsprop", 3)


def planted(**accuracy):
    """Rows of three rounds; each rises to what is given and falls again."""
    rng, found = np.random.default_rng(0), []
    for name, best in accuracy.items():
        for number in range(3):
            peak = best + rng.normal(0, 0.002)
            found += [
                {"status": "ok", "round": number, "part": part, "key": name, "studies": ("contenders",), "lane": 0,
                 "measure.contender": name, "task.name": "imdb", "step": step, "parameters": 100,
                 "accuracy": float(peak - loss), "best": loss == 0}
                for part, (step, loss) in enumerate(((10, 0.1), (20, 0.0), (30, 0.05)))
            ]  # fmt: skip
    return found


ALL = dict(tfidf=0.8, maxpool=0.8, encoder=0.9, unordered=0.85, bilstm=0.95)


def verdicts(**accuracy):
    return [finding.verdict for finding in report.report(planted(**accuracy)).answers]


def test_the_rules_decide_over_the_best_checkpoint_of_every_seed():
    assert verdicts(**ALL) == ["SUPPORTED", "SUPPORTED", "REFUTED"]
    assert verdicts(**ALL | {"tfidf": 0.95}) == ["TASK-DEPENDENT", "SUPPORTED", "REFUTED"]
    assert verdicts(**ALL | {"tfidf": 0.95, "maxpool": 0.93, "unordered": 0.9})[:2] == ["REFUTED", "INCONCLUSIVE"]
    assert verdicts(encoder=0.9) == ["INCONCLUSIVE"] * 3 == [f.verdict for f in report.report([]).answers]


def test_the_page_has_the_table_where_the_simple_ones_stand_as_well(tmp_path):
    rows = planted(**ALL | {"tfidf": 0.97})
    rules = {name: digest(rule) for name, rule in report.RULES.items()}
    write(tmp_path, report.report(rows), [{"id": "h", "rules": rules}], [row | {"header": "h"} for row in rows])
    page = (tmp_path / "report.html").read_text()
    assert "TASK-DEPENDENT" in page and "tfidf" in page and "was changed" not in page
