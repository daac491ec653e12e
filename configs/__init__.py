"""Named configs: one small module a value, each with CONFIG, found by its being here."""

import importlib
import pkgutil
import traceback
from pathlib import Path

from transformer_jax.config import Config, ConfigError, nearest


def names() -> list[str]:
    """The names of all configs, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Config:
    """The config of that name.

    Raises:
      ConfigError: no such config; the nearest names are given. Or its file cannot be loaded, or has no CONFIG.
    """
    if name not in names():
        raise ConfigError(f"unknown config {name!r}{nearest(Path(name).name.removesuffix('.py'), names())}")
    file = f"configs/{name}.py"
    try:
        module = importlib.import_module(f"configs.{name}")
    except SyntaxError as error:
        raise ConfigError(f"{_shown(error.filename or file)}, line {error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        what = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"{_place(error) or file}: {what}") from error
    if not hasattr(module, "CONFIG"):
        raise ConfigError(f"{file} has no CONFIG: it must name one, a Config of transformer_jax.config")
    if not isinstance(module.CONFIG, Config):
        kind = type(module.CONFIG).__name__
        raise ConfigError(f"{file}: CONFIG must be a Config of transformer_jax.config, not of type {kind}")
    return module.CONFIG


def _place(error: BaseException) -> str:
    """The innermost line of a config that the error passed through: "configs/mine.py, line 12"."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    places = [(_shown(frame.filename), frame.lineno) for frame in frames]
    return next((f"{file}, line {line}" for file, line in reversed(places) if file.startswith("configs/")), "")


def _shown(filename: str) -> str:
    """A file of this folder as configs/NAME.py, another by its whole path."""
    path = Path(filename)
    return f"configs/{path.name}" if str(path.parent) in __path__ else filename
