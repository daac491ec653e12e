"""`list`: what there is to be named, a line for each."""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import configs
from transformer_jax.config import MIXERS, ConfigError, TaskConfig, with_overrides
from transformer_jax.host import devices
from transformer_jax.lab import plan

NAMED = 5
"""So many tasks that fit a config are named; more are counted."""


@dataclass(frozen=True)
class List:
    """Show what there is: experiments, configs and the tasks they fit, tasks, mixers, attention implementations."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        devices.require()  # whether a config fits a task is asked of the tasks, which ask JAX
        from transformer_jax.ops.attention import ATTENTION
        from transformer_jax.tasks import place, sets
        from transformer_jax.tasks.registry import TASKS

        sources = {name: plan.FOLDER / name / "cells.py" for name in plan.names()}
        full = dict.fromkeys(plan.with_full(), "\nhas a full size: --size full")
        lines = {name: _first_line(path) + full.get(name, "") for name, path in sources.items()}
        _print_list("experiments (run.py experiment NAME)", lines)
        _print_list("configs (run.py train NAME)", {name: _of_config(name) for name in configs.names()})
        _print_list("tasks (--task.name)", {name: entry.text for name, entry in TASKS.items()})
        folder = place.data_dir(TaskConfig())
        if own := {name: "{}: {}".format(*place.own(name, folder)) for name in sets.own_names(folder)}:
            _print_list("data of your own (--task.name)", own)
        _print_list("mixers (--model.mixer)", {name: mixer.text for name, mixer in MIXERS.items()})
        texts = {name: function.__doc__.splitlines()[0] for name, function in ATTENTION.items()}
        _print_list("attention (--model.attention)", texts)
        return 0


def _first_line(path: Path) -> str:
    """The first line of a file's docstring; the file is not run."""
    try:
        return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"


def _of_config(name: str) -> str:
    """The first line of a config's docstring, and which tasks can take the place of its own."""
    from transformer_jax.tasks.registry import TASKS, needs

    try:
        config = configs.get(name)
    except ConfigError as error:  # one that cannot be loaded hides no other
        return str(error)
    text = (sys.modules[f"configs.{name}"].__doc__ or "").partition("\n")[0]
    others = [
        task for task in TASKS if task != config.task.name and not needs(with_overrides(config, {"task.name": task}))
    ]
    fits = f"; fits {', '.join(others) if len(others) <= NAMED else f'{len(others)} others'}" if others else ""
    return f"{text}\ntask {config.task.name}{fits}"


def _print_list(title: str, lines: dict[str, str]) -> None:
    width = max(map(len, lines), default=0)
    print(title)
    for name, text in lines.items():
        first, *more = text.split("\n")
        print(f"  {name.ljust(width)}  {first}".rstrip())
        for line in more:
            print(" " * (width + 4) + line)
