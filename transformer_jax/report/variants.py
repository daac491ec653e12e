"""By which columns rows differ besides the axes that a report knows, and which of several numbers comes first."""

from collections.abc import Iterable, Sequence

from transformer_jax.config import MIXERS
from transformer_jax.report.points import Rows


def preferred(found: Iterable[tuple], *orders: Sequence) -> tuple | None:
    """The first of the keys, by an order of preference for each of their parts; what an order lacks comes last."""

    def place(key: tuple) -> list[int]:
        return [o.index(part) if part in o else len(o) for part, o in zip(key, orders, strict=False)]

    return min(found, key=place, default=None)


def formed(row: dict) -> str:
    """The mixer, and the implementation that was asked for by name: "attention", "attention (reference)"."""
    mixer = row["model.mixer"]
    asked = (row.get(f"model.{key}") for key in ("attention", "recurrence") if key in MIXERS[mixer].reads)
    form = next(asked, None) or "auto"
    return mixer if form == "auto" else f"{mixer} ({form})"


def joined(*parts: str) -> str:
    """Those that are not empty, in one name."""
    return ", ".join(filter(None, parts))


def variants(rows: Rows, axes: Iterable[str], name: str) -> list[dict]:
    """The rows with `variant` and `own`: in which columns of the config, none of them in `axes`, they differ.

    `contender` is what stands in the column `name` and both of these.

    `variant` has those that every mixer reads, `own` those whose meaning depends on the mixer. A key that its mixer
    ignores becomes None, so that rows that differ in nothing else are one comparison; `model.position` becomes what the
    mixer makes of it.
    """
    read = dict.fromkeys(f"model.{key}" for mixer in MIXERS.values() for key in mixer.reads)
    rows = [_as_read(row, read) for row in rows]
    names = [c for c in dict.fromkeys(c for row in rows for c in row) if c.startswith(("model.", "task.", "train."))]
    names = [c for c in names if c.rpartition(".")[2] not in set(axes)]
    dependent = {c for c in names if c in read or c == "model.position"}
    seen: dict[tuple, set] = {}
    for row in rows:
        for c in names:
            seen.setdefault((c, row["model.mixer"] if c in dependent else None), set()).add(repr(row.get(c)))
    differ = dict.fromkeys(c for (c, _), found in seen.items() if len(found) > 1)

    def text(row: dict, columns: Iterable[str]) -> str:
        return joined(*(f"{c.rpartition('.')[2]} {row[c]}" for c in columns if row.get(c) is not None))

    own, shared = ([c for c in differ if (c in dependent) == mine] for mine in (True, False))
    rows = [row | {"variant": text(row, shared), "own": text(row, own)} for row in rows]
    return [row | {"contender": joined(row[name], row["own"], row["variant"])} for row in rows]


def _as_read(row: dict, read: Iterable[str]) -> dict:
    mixer = MIXERS[row["model.mixer"]]
    row = row | {c: None for c in read if c.rpartition(".")[2] not in mixer.reads}
    position = row.get("model.position")
    if position == "auto" or (position == "rotary" and mixer.position == "none"):
        row["model.position"] = mixer.position
    return row
