"""The command line: which command, its own options (read by tyro), and the config's (read by the config's types)."""

import dataclasses
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from types import NoneType
from typing import Annotated, Union, get_args, get_origin, get_type_hints

import tyro

import configs
from transformer_jax.cli import claims, compare, data, experiments, listing, plot, training
from transformer_jax.config import Config, ConfigError
from transformer_jax.config.continual import StreamConfig
from transformer_jax.host.devices import DeviceError
from transformer_jax.host.folders import FolderError
from transformer_jax.lab.supervisor import WorkerError
from transformer_jax.typed import describe, documentation, flatten, hints, nearest, read_as

COMMANDS = {
    "list": listing.List,
    "experiment": experiments.Experiment,
    "claims": claims.Claims,
    "report": experiments.Report,
    "compare": compare.Compare,
    "train": training.Train,
    "evaluate": training.Evaluate,
    "generate": training.Generate,
    "plot": plot.Plot,
    "prepare": data.Prepare,
}

CONFIGS: dict[str, Callable[[str | None], Config]] = {
    "experiment": experiments.base,
    "train": lambda name: configs.get(name) if name else Config(),
}
"""The commands that take options like --model.num-heads: what these change, by the name behind the command."""

DESCRIPTION = """Without a command: experiment attention_cost.

Exit codes: 0 done, where a cell that ran out of memory or time is a result as well, unless all did; 1 a cell failed
or was killed, a report could not be drawn, a loss was not finite, or the machine let the run down; 2 a mistake in the
command; 75 stopped by Ctrl-C or SIGTERM, and the same command goes on from there."""

_DOTTED = re.compile(r"--([\w-]+(?:\.[\w-]+)+)(?:=(.*))?", re.DOTALL)
TEXTS = ["--prompt"], ["--text"]
"""The options behind which any text may stand."""
_SEVERAL = {key for key, value in flatten(StreamConfig()).items() if isinstance(value, tuple)}


def main(argv: Sequence[str]) -> int:
    """Runs the command that a command line names; returns the exit code."""
    try:
        arguments, overrides = split(argv)
        if arguments == ["--version"]:
            print(f"transformer_jax {version('transformer_jax')}")
            return 0
        called = None
        if not arguments or arguments[0].startswith("-") and arguments[0] not in ("-h", "--help"):
            arguments, called = ["experiment", experiments.MAIN_JOB, *arguments], "run.py without a command"
        name = arguments[0]
        if not name.startswith("-") and name not in COMMANDS:
            raise ConfigError(f"no command {name!r}{nearest(name, COMMANDS)}")
        if name in CONFIGS and {"-h", "--help"} & set(arguments):
            code = _help(name, arguments)
        else:
            code = _parse(name, arguments, overrides, called).run(overrides)
        print(end="", flush=True)  # at exit it would be too late to report that it cannot be written
        return code
    except (ConfigError, DeviceError, FolderError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (WorkerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def split(argv: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Parts the options of the config, like --model.num-heads 8, from all other arguments.

    Of an option that is given twice the last one counts.

    Returns:
      the other arguments, in order; and the values of the config's options as texts, {"model.num_heads": ["8"]}.

    Raises:
      ConfigError: an empty value, which would else stand for the folder that one is in.
    """
    others: list[str] = []
    overrides: dict[str, list[str]] = {}
    waiting = list(argv)
    while waiting:
        argument = waiting.pop(0)
        if re.fullmatch(r"--[^=\s]+=", argument) or not argument and others[-1:] not in TEXTS:
            before = next((word for word in others[-1:] if word.startswith("--")), "an argument")
            raise ConfigError(f"{argument.rstrip('=') or before} is empty: give it a value")
        if argument == "--" and others[-1:] not in TEXTS:
            raise ConfigError("-- is no option: --help shows those that there are")
        if not (found := _DOTTED.fullmatch(argument)):
            others.append(argument)
            continue
        key = found[1].replace("-", "_")
        overrides[key] = [] if found[2] is None else [found[2]]
        while waiting and not waiting[0].startswith("--") and (key in _SEVERAL or not overrides[key]):
            overrides[key].append(waiting.pop(0))
    return others, overrides


def _parse(name: str, arguments: Sequence[str], overrides: dict[str, list[str]], called: str | None = None):
    """The command as one of COMMANDS; `called`: what its user knows it as, None: its name.

    Raises:
      ConfigError: an option that the command does not have (the nearest one is named), a value that is none of its
        type, or something that the command needs and is not there.
    """
    if not {"-h", "--help"} & set(arguments):
        _check(COMMANDS[name], name, arguments[1:])
    commands = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items()]
    command, unknown = tyro.cli(
        Union[*commands],
        args=list(arguments),
        prog="run.py",
        description=DESCRIPTION,
        config=(tyro.conf.FlagCreatePairsOff,),
        return_unknown_args=True,
    )
    if name not in CONFIGS:
        unknown = [*(f"--{key.replace('_', '-')}" for key in overrides), *unknown]
    for argument in unknown:
        option = argument.partition("=")[0]
        if not option.startswith("--"):
            raise ConfigError(f"{called or name} has no use for {argument!r}")
        known = _options(name)
        near = nearest(option, known, option=True, elsewhere=Config.ELSEWHERE) if known else " at all"
        raise ConfigError(f"{called or name} has no option {option}{near}")
    return command


def _check(kind: type, name: str, arguments: Sequence[str]) -> None:
    """Looks at a command's own options before tyro does, whose messages are boxes of many lines.

    Raises:
      ConfigError: an option's value is missing or none of its type, or something required is not there.
    """
    types = {field: next(t for t in (*get_args(t), t) if t is not NoneType) if NoneType in get_args(t) else t
             for field, t in hints(kind).items()}  # fmt: skip
    fields = {spelled: field for field, spelled in _spelled(kind).items()}
    positional = {field for spelled, field in fields.items() if not spelled.startswith("--")}
    waiting, given, texts = list(arguments), {"folders"}, documentation(kind)  # a command itself counts its folders
    while waiting:
        option, equals, value = waiting.pop(0).partition("=")
        if option not in fields:
            given |= positional if not option.startswith("-") else set()
            continue
        field = fields[option]
        given.add(field)
        if get_origin(types[field]) is tuple:
            while waiting and not waiting[0].startswith("--"):
                waiting.pop(0)
        elif types[field] is bool:
            if equals:
                raise ConfigError(f"{option} takes no value, and {value} was given")
        else:
            if not equals and (not waiting or re.match(r"--\w", waiting[0])):
                raise ConfigError(f"{option} needs a value: {_inside(texts[field])}")
            read_as(types[field], option, [value if equals else waiting.pop(0)])
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING and field.name not in given:
            raise ConfigError(f"{name} needs {_spelled(kind)[field.name]}: {_inside(texts[field.name])}")


def _spelled(kind: type) -> dict[str, str]:
    """Each field of a command as it is spelled on the command line: --dry-run, or NAME where it stands alone."""
    found = {}
    for field, annotated in get_type_hints(kind, include_extras=True).items():
        extras = getattr(annotated, "__metadata__", ())
        named = [extra.name for extra in extras if getattr(extra, "name", None)]
        option = f"--{named[0] if named else field.replace('_', '-')}"
        found[field] = field.upper() if tyro.conf.Positional in extras else option
    return found


def _inside(text: str) -> str:
    """A sentence as a part of another."""
    return text[0].lower() + text[1:].rstrip(".")


def _options(name: str) -> list[str]:
    """All options of a command, without dashes in front: "dry_run", "model.num_heads"."""
    own = [spelled[2:].replace("-", "_") for spelled in _spelled(COMMANDS[name]).values() if spelled.startswith("--")]
    return sorted(own) + (list(flatten(Config())) if name in CONFIGS else [])


def _help(name: str, arguments: Sequence[str]) -> int:
    """Prints a command's own options, then those of the config that it is asked about, with their values there."""
    config = CONFIGS[name](next((a for a in arguments[1:2] if not a.startswith("-")), None))
    try:
        _parse(name, arguments, {})
    except SystemExit as end:
        if end.code:
            raise
    print("options of the config:")
    width = shutil.get_terminal_size().columns
    for text in _described(config):
        print(textwrap.fill(text, width, initial_indent="  ", subsequent_indent=8 * " ", break_on_hyphens=False))
    return 0


def _described(section, prefix: str = "--") -> Iterator[str]:
    """An option of each value of a config: how it is spelled, what it is here, what it may be, what it means."""
    texts, types = documentation(type(section)), hints(type(section))
    for field in dataclasses.fields(section):
        value, option = getattr(section, field.name), f"{prefix}{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            yield from _described(value, f"{option}.")
            continue
        shown = " ".join(map(str, value)) or "none given" if isinstance(value, tuple) else value
        yield f"{option} (default: {shown}): {describe(types[field.name])}. {texts.get(field.name, '')}".rstrip()
