"""A user's own values for the axes of an experiment's studies, and its lengths at the size of another config."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from transformer_jax.config import MIXERS, SAMPLING, Config, ConfigError, flatten, nearest, unread
from transformer_jax.lab.sweep import Override, chain, grid
from transformer_jax.typed import read

Studies = Mapping[str, Sequence[Override]]

_MIXER, _MATCHING = "model.mixer", "measure.matching"


def values(wanted: Mapping[str, Sequence[str]], studies: Studies, base: Config) -> dict[str, list]:
    """{"seq_len": ["100", "300"]} -> {"task.seq_len": [100, 300]}, each text read by the type of its key.

    A name is an axis of the studies or any key of the config, in full or by its last component.

    Raises:
      ConfigError: no such key, several of that name, or a text that is no value of the key.
    """
    known, found = flatten(base), {}
    axes = list(dict.fromkeys(key for of_study in studies.values() for override in of_study for key in override))
    for name, texts in wanted.items():
        key = _key(name, axes, known)
        if key in found:
            raise ConfigError(f"--sweep names {key} twice: write all its values behind one of them")
        found[key] = []
        for text in texts:
            try:
                found[key].append(read(base, key, [text]))
            except ConfigError as error:
                raise ConfigError(f"--sweep {name}={text}: {error}") from None
    return found


def _key(name: str, axes: Iterable[str], known: Iterable[str]) -> str:
    for keys in (axes, known):
        matches = [name] if name in keys else [key for key in keys if key.rpartition(".")[2] == name]
        if len(matches) > 1:
            raise ConfigError(f"--sweep {name}: could be any of {', '.join(matches)}: write it in full")
        if matches:
            return matches[0]
    raise ConfigError(f"--sweep {name}: no such axis{nearest(name, known)}")


def replaced(studies: Studies, axes: Mapping[str, Sequence], base: Mapping[str, Any]) -> dict[str, list[Override]]:
    """The studies with the given values in the place of their own.

    An override that sets a key takes each of the given values; what else it sets stays. A key that no study sets is
    crossed into all of them. So is one that an override lacks because its mixer does not read it, where the study sets
    it elsewhere and the mixer is replaced by one that does. What a mixer does not read it is not given, so that it does
    not multiply its cells; overrides that become equal are one.

    base: the config that the overrides change, as `config.flatten` gives it.
    """
    set_anywhere = {key for of_study in studies.values() for override in of_study for key in override}

    def of(override: Override, set_in_study: set[str]) -> list[Override]:
        lacking = _unread(override, base) & set_in_study - override.keys()
        own = {key: axis for key, axis in axes.items() if key in override or key in lacking or key not in set_anywhere}
        return [_read_by(override | chosen, base, lacking) for chosen in grid(own)]

    found = {}
    for name, of_study in studies.items():
        set_in_study = {key for override in of_study for key in override}
        found[name] = chain(*(of(override, set_in_study) for override in of_study))
    return found


def completed(
    studies: Studies, axes: Mapping[str, Sequence], check: Callable[[Override], Any], base: Mapping[str, Any]
) -> tuple[dict[str, list[Override]], dict[str, list]]:
    """The studies with a swept key set where a cell leaves it to the base and cannot be with the base's value.

    Such a cell takes the first of the given values with which it can be: one, so that no cell is multiplied. It stays
    as it is where none helps.

    check: raises ConfigError for an override that cannot be.

    Returns:
      the studies, and by key the values that were taken.
    """
    taken: dict[str, list] = {}

    def can_be(override: Override) -> bool:
        try:
            check(override)
        except ConfigError:
            return False
        return True

    def of(override: Override) -> Override:
        left = {key: [base[key], *values] for key, values in axes.items() if key not in override}
        if not left or can_be(override):
            return override
        for chosen in grid(left):
            more = {key: value for key, value in chosen.items() if value != base[key]}
            if more and can_be(override | more):
                for key, value in more.items():
                    taken[key] = list(dict.fromkeys([*taken.get(key, ()), value]))
                return override | more
        return override

    return {name: chain([of(override) for override in of_study]) for name, of_study in studies.items()}, taken


def require_read(given: Override, own: Mapping[str, Sequence], unread: Iterable[str], swept: Sequence | None):
    """Checks that given and swept keys change what is measured, and that the report can tell swept values apart.

    unread: the experiment's UNREAD, keys that none of its cells read; swept: its SWEEPS, the keys that its report
    compares along; None: all.

    Raises:
      ConfigError: a key that is not so, with the reason.
    """
    for key in [*given, *own]:
        if key in unread:
            raise ConfigError(f"{key}: it changes nothing that this experiment measures")
    for key in own:
        name, option = key.rpartition(".")[2], f"--{key.replace('_', '-')}"
        if key in SAMPLING:
            raise ConfigError(f"--sweep {name}: it says how each cell is sampled, and is no axis: give {option}")
        if swept is not None and key not in swept:
            axes = ", ".join(one.rpartition(".")[2] for one in swept)
            raise ConfigError(
                f"--sweep {name}: this experiment's report compares along {axes} alone; give one value with {option},"
                " and each value a folder of its own (--out)"
            )


def require_each(own: Mapping[str, Sequence], planned: Sequence[Override], impossible: Sequence) -> None:
    """Raises ConfigError where a value that a user asked for is in no planned override, with the reason.

    impossible: overrides that cannot be, each with its error.
    """
    for key, values in own.items():
        for value in values:
            if not any(override.get(key) == value for override in planned):
                reasons = (error for overrides, error in impossible if overrides.get(key) == value)
                reason = next(reasons, f"no cell's mixer reads {key}")
                raise ConfigError(f"--sweep {key.rpartition('.')[2]}={value}: {reason}")


def _read_by(override: Override, base: Mapping[str, Any], lacking: set[str]) -> Override:
    """The override without what its mixer does not read: it then has the base's value, which means nothing either.

    A recurrence whose width is matched to attention's cost reads attention's keys, but for those that the study did not
    set for it (`lacking`).
    """
    whole = base | override
    recurrent = "recurrent_dim" in MIXERS[whole[_MIXER]].reads
    dropped = _unread(override, base)
    if recurrent and whole.get(_MATCHING, "width") != "width":
        dropped &= lacking
    if not recurrent:
        dropped |= {_MATCHING}  # attention is what the others are matched to
    return {key: value for key, value in override.items() if key not in dropped}


def _unread(override: Override, base: Mapping[str, Any]) -> set[str]:
    return {f"model.{key}" for key in unread((base | override)[_MIXER])}


def scaled(studies: Studies, built_for: Config, base: Config) -> dict[str, list[Override]]:
    """The studies at the size of another base: lengths and widths of a head keep their ratio to the base's own.

    A study that measures a quarter of BASE's sequence length measures a quarter of the other base's; a value is
    rounded to a whole number of at least 1.
    """
    sizes = [
        {"task.seq_len": config.task.seq_len, "model.head_dim": config.model.sizes.get("head_dim")}
        for config in (built_for, base)
    ]
    factors = {key: Fraction(sizes[1][key], one) for key, one in sizes[0].items() if one and sizes[1][key]}

    def of(override: Override) -> Override:
        larger = {
            key: max(1, round(override[key] * factor))
            for key, factor in factors.items()
            if isinstance(override.get(key), int)
        }
        return override | larger

    return {name: chain([of(override) for override in of_study]) for name, of_study in studies.items()}
