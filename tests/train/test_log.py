"""The run folder: rows that are rewound, and a folder that belongs to one config."""

import contextlib
import errno
import hashlib
import json
from pathlib import Path

import pytest

from transformer_jax.config import Config, ConfigError, flatten, with_overrides
from transformer_jax.train.log import Log, check_files, claim, digests, keep_files, read_config, read_metrics, record


def test_rows_after_the_checkpoint_and_a_torn_one_are_dropped(tmp_path):
    with Log(tmp_path, 0) as log:
        for step in (2, 4, 6):
            log.write("train", step, [{"loss": 1.0 / step}, {"loss": float("nan")}])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 8, "spl')
    with Log(tmp_path, 4):
        rows = read_metrics(path)
    assert [(row["step"], row["lane"], row["loss"]) for row in rows] == [
        (2, 0, 0.5),
        (2, 1, None),
        (4, 0, 0.25),
        (4, 1, None),
    ]


def test_events_stay_in_a_rollback_and_what_followed_a_checkpoint_goes(tmp_path):
    with Log(tmp_path, 0) as log:
        log.write("train", 2, [{"loss": 1.0}])
        log.event(6, "rollback", to=2)
        log.write("train", 4, [{"loss": 0.5}])  # where a checkpoint is saved
        log.event(6, "rollback", to=2)
        log.rewind(2)
        assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [2, 6, 6]
        log.write("train", 4, [{"loss": 0.5}])
        log.event(6, "nan")
    with Log(tmp_path, 4):
        assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [2, 6, 6, 4]
    with Log(tmp_path, 2):
        assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [2]


@pytest.mark.parametrize("damaged", ["{", "7", "{}", '{"step": "2"}', "\ufffd"])
def test_a_damaged_line_is_named(tmp_path, damaged):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 2}}\n{damaged}\n{{"step": 4}}\n')
    with pytest.raises(OSError, match="metrics.jsonl line 2 is damaged"):
        read_metrics(path)


def test_tensorboard_events_are_written(tmp_path):
    with Log(tmp_path, 0) as log:
        log.write("train", 2, [{"loss": 1.0}])
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert b"train/loss" in events.read_bytes()


def test_a_folder_belongs_to_one_config(tmp_path):
    claim(tmp_path / "run", Config())
    assert read_config(tmp_path / "run") == Config()
    claim(tmp_path / "run", with_overrides(Config(), {"task.data_dir": "/elsewhere", "measure.rounds": 9}))
    assert read_config(tmp_path / "run") == Config()
    with pytest.raises(ConfigError, match="model.mixer attention there, lstm here"):
        claim(tmp_path / "run", with_overrides(Config(), {"model.mixer": "lstm"}))


def test_a_config_that_may_not_be_read_is_not_called_missing(tmp_path, monkeypatch):
    claim(tmp_path, Config())

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(ConfigError, match=r"config.json cannot be read: Permission denied$"):
        read_config(tmp_path)


def test_who_repairs_a_run_that_was_not_finite_is_not_sent_back_to_it(tmp_path):
    """Its command would end so again. Of a stream it is the launch of a task that says so."""
    for folder in (tmp_path / "run", tmp_path / "stream"):
        claim(folder, Config())
        of_run = folder if folder.name == "run" else folder / "task_1"
        of_run.mkdir(exist_ok=True)
        record(of_run, "end", status="nan", step=20, step_seconds=None)
        with pytest.raises(ConfigError, match="there, 0.5 here.*not finite; choose another --out, or remove") as error:
            claim(folder, with_overrides(Config(), {"train.peak_lr": 0.5}))
        assert "repeat" not in str(error.value)
        claim(folder, Config())


def test_more_steps_extend_a_run_and_nothing_else_may_change(tmp_path):
    config = with_overrides(Config(), {"train.num_steps": 40, "task.data_dir": "/first"})
    claim(tmp_path, config)
    longer = with_overrides(config, {"train.num_steps": 80, "task.data_dir": "/second"})
    with pytest.raises(ConfigError, match=r"another config \(train.peak_lr 0.0003 there, 0.5 here\)"):
        claim(tmp_path, with_overrides(longer, {"train.peak_lr": 0.5}))
    assert read_config(tmp_path) == config
    claim(tmp_path, longer)
    assert read_config(tmp_path) == with_overrides(config, {"train.num_steps": 80})
    with pytest.raises(ConfigError, match="train.num_steps 80 there, 40 here"):
        claim(tmp_path, config)


def test_what_would_roll_back_to_before_its_end_is_not_extended(tmp_path):
    """The checkpoint of the end is none of those that a rollback takes, and the one before is gone."""
    rollback = {"train.nan_policy": "rollback", "train.checkpoint_every": 20, "train.eval_every": 20}
    for end, fine in ((40, True), (50, False)):
        config = with_overrides(Config(), rollback | {"train.num_steps": end})
        claim(tmp_path / str(end), config)
        with contextlib.nullcontext() if fine else pytest.raises(ConfigError, match="it cannot be extended"):
            claim(tmp_path / str(end), with_overrides(config, {"train.num_steps": 80}))


def test_the_files_of_a_task_are_kept_and_another_one_is_refused(tmp_path):
    files = {"source.json": b"{1}", "target.json": b"{2}"}
    trained = digests(files)
    assert trained["source.json"] == hashlib.sha256(b"{1}").hexdigest()
    check_files(tmp_path, files, trained)
    assert not any(tmp_path.iterdir())  # a reader writes nothing
    keep_files(tmp_path, files, trained)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    keep_files(tmp_path, files)
    for other, known in (({**files, "target.json": b"{3}"}, None), ({}, trained), ({**files, "more": b""}, trained)):
        with pytest.raises(
            ConfigError, match="trained with another (source.json and )?(target.json|more) than its task"
        ):
            keep_files(tmp_path, other, known)
    (tmp_path / "target.json").unlink()  # then what the checkpoint was trained with decides
    with pytest.raises(ConfigError, match="another target.json"):
        keep_files(tmp_path, {**files, "target.json": b"{3}"}, trained)
    assert not (tmp_path / "target.json").exists()
    keep_files(tmp_path, files, trained)
    (tmp_path / "source.json").write_bytes(b"{9}")
    with pytest.raises(ConfigError, match="another source.json .* the file in the folder was edited"):
        check_files(tmp_path, files, trained)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no run"),
        ("{", "is not the JSON of a config"),
        ("[]", "is not the JSON of a config"),
        ('{"model.num_heads": 0}', "model.num_heads=0: must be at least 1"),
    ],
)
def test_a_folder_without_a_readable_config(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path)


def test_a_folder_of_an_earlier_version_is_refused_with_the_keys(tmp_path):
    """A config.json as it was when the config still named what comes with the task's data."""
    old = flatten(Config()) | {"model.vocab_size": 65, "model.input_dim": None, "measure.level": "model"}
    (tmp_path / "config.json").write_text(json.dumps(old))
    with pytest.raises(ConfigError) as error:
        read_config(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} was written by an earlier version of this code: train again, or check out that version"
        " (its config.json has model.vocab_size, model.input_dim, which are no keys now)"
    )
    with pytest.raises(ConfigError, match="earlier version"):
        claim(tmp_path, Config())
