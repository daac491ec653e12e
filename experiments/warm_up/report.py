"""The report of `warm_up`: what either norm's loss gains by a warm-up, and how many seeds fail without."""

from collections.abc import Mapping
from math import log

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, Verdict, conditions, lines, table
from transformer_jax.report.points import by_seed, difference, groups, is_number, mean, select, values
from transformer_jax.report.rules import with_missing

MARGIN = 0.2
"""Nats a symbol: a tenth of what guessing among eight costs."""
NORMS, RATES = {"pre": "pre-norm", "post": "post-norm"}, (0.001, 0.003)


def _read(rows: Rows) -> list[dict]:
    """A loss that is no number is that of guessing; a seed has failed whose loss is above half of that."""
    found = []
    for row in by_seed(select(rows, study="warm_up")):
        if "lane" in row:
            guess, loss = log(row["task.vocab_size"] - 2), row.get("loss")
            loss = loss if is_number(loss) else guess
            found.append(row | {
                "status": "ok", "guess": guess, "loss": loss, "share_of_failed": float(loss > guess / 2),
                "warm": f"warm-up {row['train.warmup_steps']}", "warmed": row["train.warmup_steps"] > 0,
                "place": f"{row['model.mixer']}, {row['model.norm']}",
            })  # fmt: skip
    return found


def _lost(rows: Rows) -> dict[str, Estimate]:
    """By norm and rate, the loss of attention's stack without a warm-up less that with one, seed by seed."""
    mine = select(_read(rows), mixer="attention")
    found = {f"{NORMS[norm]}, rate {rate:g}": difference(part, "loss", "warmed", False, True, "seed")
             for (norm, rate), part in groups(mine, "norm", "peak_lr").items()}  # fmt: skip
    return with_missing(found, (f"{norm}, rate {rate:g}" for norm in NORMS.values() for rate in RATES))


def _post_alone_needs_it(estimates: Mapping[str, Estimate]) -> Verdict:
    if any(e.n < 2 for e in estimates.values()):
        return Verdict.INCONCLUSIVE
    needs = {name for name, e in estimates.items() if e.low > MARGIN}
    needs_not = {name for name, e in estimates.items() if e.high < MARGIN}
    post, pre = ({name for name in estimates if name.startswith(NORMS[norm])} for norm in ("post", "pre"))
    if post <= needs and pre <= needs_not:
        return Verdict.SUPPORTED
    if post <= needs_not or pre <= needs:
        return Verdict.REFUTED
    return Verdict.TASK_DEPENDENT if post & needs and pre <= needs_not else Verdict.INCONCLUSIVE


RULES = {
    "post_norm_alone_needs_it": Rule(
        "A norm needs a warm-up at a rate where the loss of attention's stack without one less that with one lies above"
        f" {MARGIN} nats a symbol, a tenth of what guessing among eight costs, with its 95 % interval over seeds; it"
        " needs none where below. A loss that is no number counts as that of guessing. SUPPORTED if post-norm needs it"
        " at every rate (0.001 and 0.003 at least) and pre-norm at none; REFUTED if post-norm needs it at none, or"
        " pre-norm at every one; TASK-DEPENDENT if pre-norm needs it at none and post-norm at some; else, or where one"
        " is not measured, INCONCLUSIVE.",
        _post_alone_needs_it,
        reads=(_read, _lost),
    ),
}


def report(rows: Rows) -> Report:
    """Seed by seed; any subset of rows will do."""
    rows = _read(rows)
    guessing = "".join(f"; guessing costs {guess:.2f}" for guess in values(rows, "guess"))
    failed = {", ".join(map(str, key)): mean(part, "share_of_failed", "seed")
              for key, part in groups(rows, "place", "warm", "peak_lr").items()}  # fmt: skip
    return Report(
        question="Which norm trains without a warm-up: before a sublayer, or after its residual sum?",
        answers=(
            Finding("Does post-norm need a warm-up, and pre-norm not?", "loss without a warm-up less that with one",
                    _lost(rows), RULES["post_norm_alone_needs_it"], of=f"nats a symbol{guessing}"),
            Finding("How many seeds fail?", "share of those whose loss at the end is above half of what guessing costs;"
                    " last the rate", failed),
        ),
        figures=(
            lines(rows, "seed", "loss", "warm", ("place", "peak_lr"), pair=None, log="", name="loss_by_seed",
                  title="Loss at the end, seed by seed", y_label="nats a symbol"),
        ),
        tables=(table(rows, ("place", "warm", "peak_lr"), "seed", "loss", None, "Loss, seed by seed"),),
        limits=(*conditions(rows), "One task, as many steps for all. How fast either learns in the end is not asked."),
    )  # fmt: skip
