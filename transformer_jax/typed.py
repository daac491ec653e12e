"""Frozen dataclasses as configs: checked types, dotted keys, strict overrides, words of a command line read."""

import ast
import dataclasses
import difflib
import inspect
import textwrap
import types
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class ConfigError(ValueError):
    """A configuration that cannot be: the message says what, where, and the rule that it breaks."""


LARGEST = 2**31 - 1  # what JAX's integers hold


def require(rule: bool, message: str) -> None:
    """Raises ConfigError with the message unless the rule holds."""
    if not rule:
        raise ConfigError(message)


def at_least(section, section_name: str, name: str, low: int) -> None:
    """Requires an integer field to lie between `low` and what JAX's integers hold."""
    value = getattr(section, name)
    require(value >= low, f"{section_name}.{name}={value}: must be at least {low}")
    require(value <= LARGEST, f"{section_name}.{name}={value}: must be at most {LARGEST}")


def check_types(section, section_name: str) -> None:
    """Requires every field to have its declared type: a wrong one would surface as a crash inside a compile."""
    for name, hint in hints(type(section)).items():
        value = getattr(section, name)
        if dataclasses.is_dataclass(hint):
            continue
        if not _fits(value, hint):
            raise ConfigError(f"{section_name}.{name}={value!r}: must be {describe(hint)}{_alike(value, hint)}")
        if hint is float:
            object.__setattr__(section, name, float(value))
        if get_origin(hint) is tuple:  # JSON gives lists
            object.__setattr__(section, name, tuple(value))


@cache
def hints(section: type) -> dict[str, Any]:
    """The declared type of each field."""
    return get_type_hints(section)


def flatten(config, prefix: str = "") -> dict[str, Any]:
    """The config as one flat dict of dotted keys, in declaration order, however deep its sections nest."""
    flat = {}
    for name, value in ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config)):
        flat |= flatten(value, f"{prefix}{name}.") if dataclasses.is_dataclass(value) else {f"{prefix}{name}": value}
    return flat


def with_overrides(config, overrides: Mapping[str, Any]):
    """A copy with dotted keys replaced, all at once.

    Raises:
      ConfigError: an unknown key (the nearest known one is named), a wrong type or an impossible value.
    """
    known = flatten(config)
    for key in overrides:
        if key not in known:
            raise ConfigError(f"unknown config key {key!r}{nearest(key, known, elsewhere=_elsewhere(config))}")
    return _replaced(config, overrides)


def _replaced(config, overrides: Mapping[str, Any]):
    own, inner = {}, {}
    for key, value in overrides.items():
        name, _, rest = key.partition(".")
        if rest:
            inner.setdefault(name, {})[rest] = value
        else:
            own[name] = value
    own |= {name: _replaced(getattr(config, name), changes) for name, changes in inner.items()}
    return dataclasses.replace(config, **own)


def read(config, key: str, texts: Sequence[str]) -> Any:
    """The value that a command line's words give to a dotted key of the config.

    Raises:
      ConfigError: an unknown key, no word, too many, or words that are no value of the key's type.
    """
    known = {name.replace("-", "_"): name for name in flatten(config)}
    if key not in known:
        near = nearest(key, known, option=True, elsewhere=_elsewhere(config))
        raise ConfigError(f"no option --{key.replace('_', '-')}{near}")
    *sections, name = key.split(".")
    for section in sections:
        config = getattr(config, section)
    return read_as(hints(type(config))[name], f"--{key.replace('_', '-')}", texts)


def read_as(hint, option: str, texts: Sequence[str]) -> Any:
    """The value of a type that a command line's words give to an option; ConfigError where they give none."""
    try:
        return _read(list(texts), hint)
    except ValueError:
        given = " ".join(texts) or "nothing"
        raise ConfigError(f"{option} must be {describe(hint)}, not {given}{_alike(given, hint)}") from None


def with_texts(config, texts: Mapping[str, Sequence[str]]):
    """A copy with the keys replaced that a command line gives: {"model.num_heads": ["8"]}; raises as `read`."""
    return with_overrides(config, {key: read(config, key, of_key) for key, of_key in texts.items()})


def _read(texts: list[str], hint) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        if types.NoneType in get_args(hint) and [text.lower() for text in texts] == ["none"]:
            return None
        return _read(texts, next(option for option in get_args(hint) if option is not types.NoneType))
    if get_origin(hint) is tuple:
        (of, *_) = get_args(hint)
        parts = [part for text in texts for part in text.split(",")] if of in (int, float) else texts
        return tuple(_read([part], of) for part in parts)
    (text,) = texts
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ValueError(text)
        return text
    if hint is bool:
        return ("false", "true").index(text.lower()) == 1
    return hint(text)


@cache
def documentation(section: type) -> dict[str, str]:
    """The text below each field of a dataclass, on one line; fields without one are left out."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        for before, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr):
                found[before.target.id] = " ".join(ast.literal_eval(after.value).split())
    return found


def _elsewhere(config) -> Mapping[str, str]:
    return getattr(config, "ELSEWHERE", {})


def nearest(word: str, known, option: bool = False, elsewhere: Mapping[str, str] | None = None) -> str:
    """The end of an error message: the known words that look like `word`, the likest first, or all (of its section).

    Alike is what has the same name in another section, nearly the same name in its own, or `word` as a part of its
    name: lr for train.peak_lr.

    Args:
      option: spell them as on a command line, --model.num-heads.
      elsewhere: the name here by what it is called elsewhere; a name that is not known here counts for nothing. A
        config says it by its ELSEWHERE.
    """

    def parts(text: str) -> tuple[str, str]:
        section, _, name = text.lstrip("-").replace("-", "_").rpartition(".")
        return section, name

    def shown(text: str) -> str:
        return f"--{text.replace('_', '-')}" if option else text

    known, (section, name) = list(known), parts(word)
    if not known:
        return "; there is none"
    names = {parts(k)[1] for k in known}
    if name not in names and (here := (elsewhere or {}).get(name)) in names:
        name = here
    among = [k for k in known if parts(k)[0] == (section or name)] or [k for k in known if parts(k)[0] == section]
    among = among or known
    alike = difflib.get_close_matches(name.lower(), [parts(k)[1] for k in among])
    close = (
        [k for k in known if parts(k)[1] == name]
        or [k for likest in dict.fromkeys(alike) for k in among if parts(k)[1] == likest]
        or [k for k in among if name in parts(k)[1].split("_")]
        or [k for k in known if name in parts(k)[1].split("_")]
    )
    if close:
        return f"; did you mean {' or '.join(map(shown, close[:3]))}?"
    sections = list(dict.fromkeys(parts(k)[0] for k in known))
    if section and section not in sections and any(sections):
        return f"; known sections: {', '.join(filter(None, sections))}"
    return f"; known: {', '.join(map(shown, among))}"


def _fits(value, hint) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, (tuple, list)) and all(_fits(v, get_args(hint)[0]) for v in value)
    if hint is types.NoneType:
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def describe(hint) -> str:
    """A type in words: "a whole number", "one of pre, post"."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(describe(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    if get_origin(hint) is tuple:
        between = "blanks or commas" if get_args(hint)[0] in (int, float) else "blanks"
        return f"{describe(get_args(hint)[0])}, or several with {between} between them"
    named = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", types.NoneType: "none",
             Path: "a path"}  # fmt: skip
    return named.get(hint, str(hint))


def _alike(value, hint) -> str:
    if get_origin(hint) is Literal and isinstance(value, str):
        close = difflib.get_close_matches(value.lower(), get_args(hint), n=1)
        return f"; did you mean {close[0]}?" if close else ""
    return ""
