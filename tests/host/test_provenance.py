"""What is recorded beside a result: the project's own commit, the machine, nothing private."""

import subprocess

from transformer_jax.host import provenance


def test_the_commit_is_the_projects_own_or_none(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "empty")
    monkeypatch.setattr(provenance, "ROOT", tmp_path.resolve())
    assert len(provenance.commit()["commit"]) == 40 and not provenance.commit()["dirty"]
    (tmp_path / "edited").touch()
    assert provenance.commit()["dirty"]
    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr(provenance, "ROOT", tmp_path.resolve() / "site-packages")
    assert provenance.commit() == {"commit": None, "dirty": None}


def test_a_machine_without_jax_has_no_device():
    found = provenance.machine(with_jax=False)
    assert found["device"] == "none" and found["device_count"] == 0
    assert found["cpu_model"] and found["threads"] >= 1 and found["versions"]["jax"]


def test_home_and_secrets_are_left_out_at_any_depth(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    found = provenance.without_private({"a": ["no 0123456789abcdef", ("/home/somebody/x", 3)], "b": "/home/somebody2"})
    assert found == {"a": ["no ***", ["~/x", 3]], "b": "/home/somebody2"}
