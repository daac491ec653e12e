"""Named configs: one small module a value, each with CONFIG, found by its being here."""

import importlib
import pkgutil

from transformer_jax.config import Config, ConfigError, nearest


def names() -> list[str]:
    """The names of all configs, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Config:
    """The config of that name.

    Raises:
      ConfigError: no such config; the nearest names are given.
    """
    if name not in names():
        raise ConfigError(f"unknown config {name!r}{nearest(name, names())}")
    return importlib.import_module(f"configs.{name}").CONFIG
