"""A sweep is a list of overrides, plain dicts of dotted config keys: two functions make it, two cut it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformer_jax.config import Config, ConfigError, nearest, with_overrides

Override = dict[str, Any]
SEED_STEP = 1000  # between the seeds of two rounds: a cell's lanes have seed, seed + 1, ...


class Job(NamedTuple):
    """One round of one cell, as the cell is given it."""

    seed: int
    """train.seed + 1000 * round: a round that trains starts from parameters of its own."""
    folder: Path
    """The cell's own, the same whenever this round is attempted; made by the cell that wants one."""
    round: int

    def seeded(self, config: Config) -> Config:
        """The config with this round's seed."""
        return with_overrides(config, {"train.seed": self.seed})


def grid(axes: Mapping[str, Sequence], skip: Callable[[Override], bool] = lambda override: False) -> list[Override]:
    """Every combination of the axes' values, the last axis fastest, without those for which `skip` is True.

    Raises:
      ConfigError: an axis without values, or whose values are not a list or tuple.
    """
    _check(axes)
    combinations = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
    return [override for override in combinations if not skip(override)]


def chain(*sweeps: Sequence[Override]) -> list[Override]:
    """One sweep after the other; an override that came before is left out."""
    return _unique(override for sweep in sweeps for override in sweep)


def pin(overrides: Sequence[Override], given: Override) -> list[Override]:
    """The sweep with every given key held at its given value; overrides that become equal collapse into one.

    A given key that is not swept changes nothing here: it belongs to the base config.
    """
    return _unique({key: given.get(key, value) for key, value in override.items()} for override in overrides)


def only(overrides: Sequence[Override], wanted: Mapping[str, Sequence[str]]) -> list[Override]:
    """The overrides whose axes have one of the wanted values, both as typed on a command line.

    Args:
      overrides: a sweep; one that lacks a wanted axis is dropped.
      wanted: {"seq_len": ["64", "128"]}; an axis is a full dotted key or its last component.

    Raises:
      ConfigError: an axis that the sweep does not have, or a value that the axis never takes.
    """
    kept = list(overrides)
    for name, texts in wanted.items():
        key = _axis(name, overrides)
        values = _unique(override[key] for override in overrides if key in override)
        for text in texts:
            if not any(_reads_as(text, value) for value in values):
                raise ConfigError(f"the sweep has no {name}={text}{_taken(name, text, key, values)}")
        kept = [o for o in kept if key in o and any(_reads_as(text, o[key]) for text in texts)]
    if wanted and not kept:
        choice = " ".join(f"{name}={','.join(texts)}" for name, texts in wanted.items())
        raise ConfigError(f"no cell of the sweep has all of {choice}")
    return kept


def parse(option: str, texts: Sequence[str]) -> dict[str, list[str]]:
    """["seq_len=64,128"] -> {"seq_len": ["64", "128"]}; anything else raises ConfigError, which names the option."""
    wanted: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if name and equals and values and not all(values.split(",")):
            right = ",".join(filter(None, values.split(","))) or "value,value"
            raise ConfigError(
                f"{option} {text}: a value is missing beside a comma; write {name}={right} without blanks"
            )
        if not (name and equals and values):
            raise ConfigError(f"{option} takes axis=value,value ..., not {text!r}")
        wanted.setdefault(name.replace("-", "_"), []).extend(values.split(","))
    return wanted


def _axis(name: str, overrides: Sequence[Override]) -> str:
    keys = _unique(key for override in overrides for key in override)
    matches = [name] if name in keys else [key for key in keys if key.rsplit(".", 1)[-1] == name]
    if len(matches) > 1:
        raise ConfigError(f"{name!r} could be any of the sweep's axes {', '.join(matches)}: write it in full")
    if not matches:
        raise ConfigError(f"the sweep has no axis {name!r}{nearest(name, keys)}")
    return matches[0]


def _taken(name: str, text: str, key: str, values: Sequence) -> str:
    """The end of a message: the value of an axis that was meant, or all that it takes."""
    if all(isinstance(value, str) for value in values):
        return nearest(text, values)
    known = sorted(values, key=lambda value: (isinstance(value, str), value is None, value))
    return f": {key} takes {', '.join(map(str, known))} (--sweep {name}={text} measures other values)"


def _reads_as(text: str, value) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text.lower() == str(value).lower()


def _check(axes: Mapping[str, Sequence]) -> None:
    for key, values in axes.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise ConfigError(f"axis {key!r} must list at least one value, not {values!r}")


def _unique(items) -> list:
    """Without repeats, in order; 1, 1.0 and True stay apart, as they do in a config."""
    seen, kept = set(), []
    for item in items:
        name = repr(sorted(item.items())) if isinstance(item, dict) else repr(item)
        if name not in seen:
            seen.add(name)
            kept.append(item)
    return kept
