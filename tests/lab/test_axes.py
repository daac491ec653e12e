"""A user's own values in the place of a study's, and studies at another size."""

import pytest

import configs
from transformer_jax.config import Config, ConfigError, flatten, with_overrides
from transformer_jax.lab import axes, plan
from transformer_jax.lab.sweep import chain, grid, parse

STUDIES = {
    "length": chain(
        grid({"model.mixer": ["attention"], "model.attention": ["auto"], "task.seq_len": [64, 128]}),
        grid({"model.mixer": ["lstm"], "task.seq_len": [64]}),
    ),
    "heads": grid({"model.mixer": ["attention"], "model.attention": ["auto"], "model.num_heads": [1, 2, 4]}),
}
BASE = flatten(Config())


def replaced(**own):
    return axes.replaced(STUDIES, {key.replace("__", "."): values for key, values in own.items()}, BASE)


def values(overrides, key):
    return [override.get(key) for override in overrides]


def test_a_text_is_read_by_the_type_of_its_key():
    wanted = parse("--sweep", ["seq-len=100,300", "model.d_model=96", "tie_embeddings=true", "head_dim=none,8"])
    assert axes.values(wanted, STUDIES, Config()) == {
        "task.seq_len": [100, 300],
        "model.d_model": [96],
        "model.tie_embeddings": [True],
        "model.head_dim": [None, 8],
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("seq_length=64", r"--sweep seq_length: no such axis; did you mean task.seq_len"),
        ("seq_len=long", r"--sweep seq_len=long: .*must be a whole number, not long"),
        ("mixer=rnm", r"--sweep mixer=rnm: .*did you mean rnn"),
        ("seq_len=1 task.seq_len=2", "names task.seq_len twice"),
    ],
)
def test_a_wrong_axis_or_value_is_named(words, message):
    with pytest.raises(ConfigError, match=message):
        axes.values(parse("--sweep", words.split()), STUDIES, Config())


def test_an_axis_of_a_study_takes_the_given_values_and_the_others_stay():
    found = replaced(task__seq_len=[100, 300])
    assert values(found["length"], "task.seq_len") == [100, 300, 100, 300]
    assert values(found["length"], "model.mixer") == ["attention", "attention", "lstm", "lstm"]
    assert found["heads"] == STUDIES["heads"]


def test_a_key_that_no_study_has_is_crossed_into_all_of_them():
    found = replaced(model__d_model=[96, 192])
    assert {name: len(of_study) for name, of_study in found.items()} == {"length": 6, "heads": 6}
    assert {override["model.d_model"] for of_study in found.values() for override in of_study} == {96, 192}


def test_what_a_mixer_does_not_read_does_not_multiply_its_cells():
    found = replaced(model__mixer=["attention", "gru"], model__attention=["reference", "blockwise"])
    grus = [override for override in found["length"] if override["model.mixer"] == "gru"]
    assert grus == [{"model.mixer": "gru", "task.seq_len": T} for T in (64, 128)]
    assert len(found["length"]) == 2 + 2 * 2  # the lstm's place is taken by attention as well, which was there
    assert values(found["heads"], "model.mixer").count("gru") == 1  # heads mean nothing to it


def test_what_the_place_of_a_recurrence_takes_reads_the_values_that_it_did_not():
    only_lstm = {"length": STUDIES["length"][-1:] + STUDIES["length"][:1]}
    found = axes.replaced(only_lstm, {"model.mixer": ["attention"], "model.attention": ["xla"]}, BASE)
    assert found["length"] == [{"model.mixer": "attention", "task.seq_len": 64, "model.attention": "xla"}]


def test_attention_is_not_matched_to_itself_and_a_matched_recurrence_reads_what_it_is_matched_to():
    matching = {"m": grid({"model.mixer": ["lstm"], "measure.matching": ["width", "params"]})}
    found = axes.replaced(matching, {"model.mixer": ["attention", "lstm"], "model.num_heads": [2, 6]}, BASE)
    assert [o for o in found["m"] if o["model.mixer"] == "attention"] == [
        {"model.mixer": "attention", "model.num_heads": heads} for heads in (2, 6)
    ]
    lstms = [o for o in found["m"] if o["model.mixer"] == "lstm"]
    assert [o.get("model.num_heads") for o in lstms] == [None, 2, 6]


def test_studies_keep_their_ratio_to_another_base():
    base = with_overrides(Config(), {"model.d_model": 1024, "model.num_heads": 8, "task.seq_len": 512})
    studies = {"s": grid({"task.seq_len": [64, 96], "model.head_dim": [None, 16], "model.num_heads": [1]})}
    found = axes.scaled(studies, Config(), base)["s"]  # 256 steps and heads of 32 become 512 and 128
    assert [(o["task.seq_len"], o["model.head_dim"]) for o in found] == [(128, None), (128, 64), (192, None), (192, 64)]
    assert values(found, "model.num_heads") == [1] * 4
    assert axes.scaled(studies, Config(), Config()) == studies


def swept(*words, **more):
    module, notes = plan.load("attention_cost").cells, []
    return plan.plan(module, swept=parse("--sweep", words), note=notes.append, **more), notes


def test_the_main_experiment_over_a_users_own_values():
    words = "seq_len=100,300,3000 num_heads=2,6 d_model=96,192 mixer=attention,gru attention=reference,blockwise"
    cells, notes = swept(*words.split())
    models = [cell.config.model for cell in cells]
    assert {cell.config.task.seq_len for cell in cells} == {100, 300, 3000}
    assert {model.d_model for model in models} == {96, 192}
    assert {(m.mixer, m.attention) for m in models} == {
        ("attention", "reference"), ("attention", "blockwise"), ("gru", "auto"),
    }  # fmt: skip
    assert {m.num_heads for m, cell in zip(models, cells, strict=True) if "heads" in cell.studies} == {2, 6, 4}
    assert {m.num_heads for m in models if m.mixer == "gru"} == {4}
    assert len({cell.identity for cell in cells}) == len(cells)
    assert len(notes) == 1 and "gru runs as auto or sequential" in notes[0] and "are left out" in notes[0]


def test_only_selects_among_the_values_of_a_sweep():
    cells, _ = swept("seq_len=100,300", "num_heads=2,6", "d_model=96", wanted={"num_heads": ["6"], "level": ["op"]})
    assert {(c.config.model.num_heads, c.config.model.d_model) for c in cells} == {(6, 96)}
    with pytest.raises(ConfigError, match=r"takes 100, 300 \(--sweep seq_len=64 measures other values\)"):
        swept("seq_len=100,300", wanted={"seq_len": ["64"]})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("num_heads=2,6", "head_dim=none"),
            "--sweep num_heads=6: model.d_model=64 is not divisible by",
        ),
        (("seq_len=0,64",), "--sweep seq_len=0: task.seq_len=0: must be at least 1"),
        (("mixer=gru", "attention=reference"), "--sweep attention=reference: no cell's mixer reads model.attention"),
    ],
)
def test_a_value_that_no_cell_can_have_is_an_error(words, message):
    with pytest.raises(ConfigError, match=message):
        swept(*words)


def test_a_key_is_pinned_or_swept_and_pins_hold_beside_a_sweep():
    with pytest.raises(ConfigError, match="given by --task.seq-len and by --sweep"):
        swept("seq_len=100", given={"task.seq_len": 64})
    cells, _ = swept("seq_len=100,200", given={"model.mixer": "gru"})
    assert {(c.config.model.mixer, c.config.task.seq_len) for c in cells} == {("gru", 100), ("gru", 200)}


def test_the_lengths_follow_a_larger_config_and_the_experiments_own_axes_stay():
    experiment = plan.load("attention_cost", configs.get("bench_accelerator"))
    small, large = plan.plan(experiment.cells), plan.plan(experiment.cells, base=experiment.base)
    assert len(small) == len(large)
    assert {8 * cell.config.task.seq_len for cell in small} == {cell.config.task.seq_len for cell in large}
    assert max(cell.config.task.seq_len for cell in large) == 65536
    assert {cell.config.model.dtype for cell in large} == {"bfloat16"}
    assert experiment.base.measure == experiment.cells.BASE.measure
    widths = {c.config.model.sizes["head_dim"] for c in large if "head_dim" in c.studies}
    assert widths == {64}


def test_where_the_bases_value_cannot_be_a_study_that_does_not_vary_the_key_takes_one_swept_value():
    cells, notes = swept("num_heads=3,6", "d_model=90")
    models = {study: [c.config.model for c in cells if study in c.studies] for study in ("length", "heads", "depth")}
    for study in ("length", "depth"):
        assert {m.num_heads for m in models[study] if m.mixer == "attention"} == {3}
        assert {m.num_heads for m in models[study] if m.mixer != "attention"} == {4}  # they do not read it
    assert {m.num_heads for m in models["heads"]} == {3, 6}
    matched = [c.config for c in cells if c.config.measure.matching != "width"]
    assert {(c.model.mixer, c.model.num_heads) for c in matched} == {
        ("lstm", 3)
    }  # what it is matched to must be possible
    at_64, _ = swept("d_model=64")
    assert sum("length" in c.studies for c in cells) == sum("length" in c.studies for c in at_64)
    assert len(notes) == 1 and "model.num_heads stays 4 where a study does not vary it" in notes[0]
    assert notes[0].endswith("with which they can: 3")


def test_the_same_holds_beside_a_given_value_and_what_the_base_can_stays():
    cells, _ = swept("num_heads=3,6", given={"model.d_model": 90})
    assert {c.config.model.num_heads for c in cells if c.config.model.mixer == "attention"} == {3, 6}
    cells, notes = swept("num_heads=2,6", "d_model=96,192")
    assert {c.config.model.num_heads for c in cells if "depth" in c.studies} == {4} and not notes


@pytest.mark.parametrize(
    ("experiment", "words", "given", "message"),
    [
        ("attention_cost", ["train.num_steps=5,6"], {}, "train.num_steps: it changes nothing that this experiment"),
        ("attention_cost", [], {"train.num_steps": 5}, "train.num_steps: it changes nothing that this experiment"),
        ("attention_cost", ["peak_lr=1,2"], {}, "train.peak_lr: it changes nothing that this experiment"),
        ("attention_cost", ["rounds=3,4"], {}, "--sweep rounds: it says how .* give --measure.rounds"),
        (
            "vectorized_heads",
            ["d_model=32,64"],
            {},
            "--sweep d_model: .* along seq_len, num_heads alone; .*--model.d-model",
        ),
        ("recall", ["seq_len=32,64"], {}, "--sweep seq_len: .* along mixer, num_items alone"),
        ("peers", ["batch_size=2,4"], {}, "--sweep batch_size: this experiment's report compares along"),
    ],
)
def test_a_key_that_changes_nothing_or_that_no_report_tells_apart_is_refused(experiment, words, given, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(plan.load(experiment).cells, given, swept=parse("--sweep", words))


@pytest.mark.parametrize("name", plan.names())
def test_an_experiments_declared_keys_are_there_and_its_studies_vary_none_that_is_unread(name):
    cells = plan.load(name).cells
    declared = {*getattr(cells, "UNREAD", ()), *getattr(cells, "SWEEPS", ())}
    assert declared <= flatten(cells.BASE).keys()
    varied = {key for of_study in cells.STUDIES.values() for override in of_study for key in override}
    assert not varied & set(getattr(cells, "UNREAD", ()))
