"""One cache of compiled programs for every process."""

from transformer_jax.host import compilation


def test_every_compiled_program_is_kept_in_one_folder_or_the_users_own(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = compilation.environment()
    assert made["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "transformer_jax" / "xla")
    assert made["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    assert compilation.environment()["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere"
