"""What a person sees of a run while it goes: a live table on a terminal, now and then a line elsewhere."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from transformer_jax.lab.place import place
from transformer_jax.lab.plan import Cell
from transformer_jax.lab.training import Stage

SHOWN_ROWS = 10
PLAIN_LINES = 20
TRAINING_LINES = 4


class Eta:
    """How long the remaining calls will take, from what they took so far and what was predicted."""

    def __init__(self, predicted: dict[str, float] | None = None):
        """`predicted`: seconds by identity of the cell, right up to one common factor; without compiling."""
        self._predicted = predicted or {}
        self._last: dict[str, float] = {}
        self._first: dict[str, float] = {}
        self._compiling: dict[str, float] = {}

    def observe(self, identity: str, seconds: float, compile_seconds: float = 0.0) -> None:
        """One call took so long; of a cell's first call here, `compile_seconds` will not come again."""
        if identity not in self._first:
            self._compiling[identity] = min(seconds, compile_seconds)
            seconds -= self._compiling[identity]
            self._first[identity] = seconds
        self._last[identity] = seconds

    def remaining(self, identities: Iterable[str]) -> float | None:
        """Seconds for one call of each; a cell with three rounds to go is there three times. None: unknown.

        A cell that ran is expected to take what it took last; one that did not, its prediction scaled to what
        the others' first calls took, or else their mean, and what they took on average to compile.
        """
        if not self._first:
            return None
        foretold = sum(self._predicted.get(identity, 0.0) for identity in self._first)
        scale = sum(self._first.values()) / foretold if foretold else None
        mean = sum(self._first.values()) / len(self._first)

        def expected(identity: str) -> float:
            if identity in self._last:
                return self._last[identity]
            return self._predicted[identity] * scale if scale and identity in self._predicted else mean

        identities = list(identities)
        new = set(identities) - self._first.keys()
        compiling = len(new) * sum(self._compiling.values()) / len(self._compiling)
        return compiling + sum(map(expected, identities))


class View:
    """Sees everything and shows nothing; the two below show it. It is called while the worker measures nothing, so that
    drawing disturbs no sample; but for `training`, where there is none."""

    def start(self, todo: int | None, notes: Sequence[str]) -> None:
        """Before the first call: how many there are to make (None: passes until the clock ends the run), and what the
        reader of the folder noted."""
        self.todo, self.statuses = todo, Counter()

    def preparing(self, stage: str, count: int, total: int, seconds: float) -> None:
        """After each cell that was "compiled" or, by its first steps, "ready", with how many seconds the rest takes."""

    def note(self, text: str) -> None:
        """A sentence for people."""

    def training(self, cell: Cell, stage: Stage) -> None:
        """Now and then during a call that trains."""

    def done(self, cell: Cell, row: dict, seconds: float, left: int | None, eta: float | None) -> None:
        """After each call, with how many are left, None where the clock decides, and how long they will take."""
        self.statuses[row["status"]] += 1
        self.todo = None if left is None else self.statuses.total() + left

    def stop(self) -> None:
        """After the last call, or when the run is stopped."""

    def _sums(self, eta: float | None) -> str:
        counts = "  ".join(f"{status} {count}" for status, count in self.statuses.most_common())
        left = f"  about {duration(eta)} left" if eta else ""
        of = "" if self.todo is None else f"/{self.todo}"
        return f"{self.statuses.total()}{of} measured  {counts}{left}"


STAGES = {"compiled": "compiling", "ready": "first steps"}


def prepared(stage: str, count: int, total: int, seconds: float) -> str:
    """ "compiling 40/129, about 50 s left"."""
    return f"{STAGES[stage]} {count}/{total}" + (f", about {duration(seconds)} left" if seconds else "")


def trained(cell: Cell, stage: Stage) -> str:
    """ "mixer=lstm num_items=4: choosing the rate, step 120 of 400"."""
    step, steps, phase = stage
    return f"{label(cell)}: {phase}, step {step} of {steps}" + ("" if step else ", compiling")


class PlainView(View):
    """A line for each twentieth of the work, or a pass as long, and for every cell that does not end well."""

    def __init__(self, console: Console):
        self._console = console

    def start(self, todo, notes):
        super().start(todo, notes)
        self._pass, self._shown, self._longest, self._parts = None, None, 0.0, {}
        for line in [*notes, *([] if todo is None else [f"{todo} measurements to make"])]:
            self.note(line)

    def preparing(self, stage, count, total, seconds):
        if count == total or count % max(1, total * (1 + (stage == "ready")) // PLAIN_LINES) == 0:
            self.note(prepared(stage, count, total, seconds))

    def note(self, text):
        self._console.print(Text(text), soft_wrap=True)

    def training(self, cell, stage):
        part = stage.phase, stage.step * TRAINING_LINES // stage.steps
        if part != self._parts.get(cell.identity):
            self._parts[cell.identity] = part
            self.note(trained(cell, stage))

    def done(self, cell, row, seconds, left, eta):
        if left is None and self._pass not in (None, row["round"]):
            self._longest = max(self._longest, eta or 0.0)
            if self._shown is None or self._shown - (eta or 0.0) >= self._longest / PLAIN_LINES:
                self._shown = eta
                self.note(f"pass {self._pass + 1}: {self._sums(eta)}")
        self._pass = row["round"]
        super().done(cell, row, seconds, left, eta)
        self._parts.pop(cell.identity, None)
        if row["status"] != "ok":
            self.note(_what_happened(cell, row))
        count = self.statuses.total()
        if left is not None and (count == self.todo or count % max(1, self.todo // PLAIN_LINES) == 0):
            self.note(self._sums(eta))

    def stop(self):
        if self.todo is None and self._pass is not None:
            self.note(f"pass {self._pass + 1}: {self._sums(None)}")


class TableView(View):
    """The last rows and a bar, redrawn in place after each call."""

    def __init__(self, console: Console):
        self._console, self._rows, self._eta = console, deque(maxlen=SHOWN_ROWS), None
        self._trainings: dict[str, str] = {}  # by identity of the cell, how far it is: one for each worker

    def start(self, todo, notes):
        super().start(todo, notes)
        for text in notes:
            self.note(text)
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()
        self._draw(None)

    def preparing(self, stage, count, total, seconds):
        bar = ProgressBar(total=max(1, total), completed=count, width=40)
        self._live.update(Group(bar, Text(prepared(stage, count, total, seconds))), refresh=True)

    def note(self, text):
        self._console.print(Text(text))

    def training(self, cell, stage):
        self._trainings[cell.identity] = trained(cell, stage)
        self._draw(self._eta)

    def done(self, cell, row, seconds, left, eta):
        super().done(cell, row, seconds, left, eta)
        if row["status"] == "failed":  # a mistake in the experiment; what else can happen is a result
            self._console.print(Text(_what_happened(cell, row)), soft_wrap=True)
        self._trainings.pop(cell.identity, None)
        self._rows.append((cell, row, seconds))
        self._eta = eta
        self._draw(eta)

    def stop(self):
        self._live.stop()

    def _draw(self, eta: float | None) -> None:
        table = Table(box=None, header_style="dim")
        for heading, justify in (("cell", "left"), ("pass", "right"), ("status", "left"), ("took", "right")):
            table.add_column(heading, justify=justify, no_wrap=True)
        for cell, row, seconds in self._rows:
            status = Text(row["status"], style="green" if row["status"] == "ok" else "bold red")
            table.add_row(Text(label(cell)), str(row["round"] + 1), status, f"{seconds:.2f} s")
        shown = [table, Text(self._sums(eta)), *map(Text, self._trainings.values())]
        if self.todo is not None:
            shown.insert(1, ProgressBar(total=max(1, self.todo), completed=self.statuses.total(), width=40))
        self._live.update(Group(*shown), refresh=True)


def view_for(console: Console) -> View:
    """A live table on a terminal, plain lines elsewhere."""
    return TableView(console) if console.is_terminal else PlainView(console)


def short(value) -> str:
    """Of many values the first and the last."""
    if isinstance(value, tuple) and len(value) > 4:
        first, last = (f"{one:g}" if isinstance(one, float) else one for one in (value[0], value[-1]))
        return f"{first} ... {last} ({len(value)})"
    return str(value)


def label(cell: Cell) -> str:
    """What tells a cell from its neighbours: "mixer=lstm seq_len=128"."""
    return " ".join(f"{key.rsplit('.', 1)[-1]}={short(value)}" for key, value in cell.overrides.items()) or "base"


def duration(seconds: float) -> str:
    """40 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _what_happened(cell: Cell, row: dict) -> str:
    """One line on a cell that did not end well: what was raised, and where."""
    message = (row.get("message") or "").partition("\n")[0][:200]
    return f"{label(cell)}: {row['status']}  {message}{place(row.get('traceback') or '')}"
