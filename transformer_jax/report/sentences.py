"""Estimates in words: what stands in a sentence is the number that stands in the figure and the table."""

from collections.abc import Callable, Mapping
from math import isfinite, isnan

from transformer_jax.config import MIXERS
from transformer_jax.intervals import Crossing, Estimate, growth_word, proportion, verdict
from transformer_jax.report.findings import Finding
from transformer_jax.report.tables import number, shown

FITS = 0.1
"""A sum of powers that misses a point by a larger share of it describes no curve."""
NAMES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "min_gru": "minGRU"}


def mixer_of(contender: str) -> str:
    """The mixer in front of what else a contender's name has."""
    return max((mixer for mixer in MIXERS if contender.startswith(mixer)), key=len, default="")


def named(contender: str) -> str:
    """A contender as people write it: "the LSTM", "attention (reference)"."""
    mixer = mixer_of(contender)
    rest = contender[len(mixer) :]
    return f"the {NAMES[mixer]}{rest}" if mixer in NAMES else contender


def unanswered(question: str, needs: str) -> Finding:
    """A question that the rows cannot answer, and what would have to be measured."""
    return Finding(question, f"These rows do not tell: it takes {needs}.", word="not answered")


def value(estimate: Estimate, decided: bool, write: Callable[[float], str] = number) -> str:
    """The value alone where something follows from it; else the ends of its interval, between which all is open."""
    if not isfinite(estimate.high):
        return f"{write(estimate.value)} (one round)"
    return write(estimate.value) if decided else f"{write(estimate.low)} to {write(estimate.high)}"


def power(estimate: Estimate) -> str:
    """T^1.72, or between which two powers that is open."""
    return value(estimate, growth_word(estimate) != "undecided", lambda exponent: f"T^{exponent:.2f}")


def times(estimate: Estimate) -> str:
    """2.30 times, or between which two factors that is open."""
    return f"{value(estimate, verdict(estimate) != 'undecided')} times"


def percent(estimate: Estimate) -> str:
    """A share as a percentage."""
    return value(estimate, True, lambda share: f"{100 * share:.0f}\u00a0%")


def passing(found: Crossing) -> tuple[str, str]:
    """Where a costs more than b: to complete such a sentence, and as a verdict. It is open where `bounded` holds."""
    at, order, lengths = found.at, found.order, found.lengths
    span = f"from T = {shown(lengths[0])} to {shown(lengths[-1])}"
    open_ = [shown(length) for length, sign in zip(lengths, order, strict=True) if not sign]
    close = f"{', '.join(open_)}: too close to tell"
    if found.count:
        more = f" (the first of {found.count} crossings)" if found.count > 1 else ""
        up = next(sign for sign in order if sign) < 0
        if isnan(at.value) or bounded(found):
            between = f"between T = {shown(round(at.low))} and {shown(round(at.high))}"
            return f"{'from' if up else 'up to'} somewhere {between}{' on' if up else ''}{more}", between
        return f"{'from' if up else 'up to'} T = {number(at.value)}{' on' if up else ''}{more}", \
            f"crosses at T = {number(at.value)}"  # fmt: skip
    if not any(order):
        return f"perhaps (too close to tell {span})", "undecided"
    always = f"at {'every' if max(order) > 0 else 'no'} length"
    if not open_:
        return f"{always} {span}", always
    if isfinite(at.high):
        return f"from T = {shown(at.high)} on ({close})", f"T = {shown(at.high)} at the latest"
    if at.low > 0 and max(order) <= 0 and not any(order[order.index(0) :]):
        return f"at most above T = {shown(at.low)} ({close})", f"above T = {shown(at.low)}, if ever"
    return f"{always} {span} ({close})", f"{always}, but perhaps at {', '.join(open_)}"


def near(ratios: Mapping[float, Estimate]) -> tuple[str, str] | None:
    """As `passing`, from the ratio of a over b at each length, where the two cost about the same around the crossing:
    where that is, and from where on a costs more. None: some length is undecided, or the order is another.
    """
    words = [(length, verdict(ratios[length])) for length in sorted(ratios)]
    same = [length for length, word in words if "equal" in word]
    rank = {"faster": 0, "equal": 1, "about equal": 1, "slower": 2}
    order = [rank[word] for _, word in words if word in rank]
    more = [length for length, word in words if word == "slower"]
    if not (same and more) or len(order) < len(words) or order != sorted(order):
        return None
    where = shown(same[0]) + (f" to {shown(same[-1])}" if len(same) > 1 else "")
    start = f"from T = {shown(more[0])} on"
    return f"{start}, about the same at T = {where}", f"{start}; about equal at T = {where}"


def bounded(found: Crossing) -> bool:
    """What is known of the crossing leaves more than a factor of 2 open; docs/notes/verdicts.md."""
    if not found.count:
        return 0 in found.order
    return not found.at.high <= 2 * found.at.low


def growing(question: str, who: str, lines: Mapping[str, Mapping], of: str = "", quadratic: bool = False) -> Finding:
    """How costs grow: `lines` of points.growth by quantity, of which the first one's word is the verdict.

    of: what was measured, but for the lengths. quadratic: also what share of the first is the last term of
    a + bT + cT², and whether a pure power fits better.
    """
    main, *others = lines
    line, over = lines[main], lines[main]["over"]
    text = f"{who[:1].upper()}{who[1:]}: {main} as {power(line['exponent'])}"
    text += "".join(f", {name} as {power(lines[name]['exponent'])}" for name in others)
    estimates = {name if part["over"] == line["over"] else f"{name} (T = {part['over']})": part["exponent"]
                 for name, part in lines.items()}  # fmt: skip
    share, bic = line.get("share of cx² at the last"), line.get("BIC of a power of x less this")
    if quadratic and share and line["error"] > FITS:
        text += f"; no a + bT + cT² comes nearer to it than {line['error']:.0%}"
    elif quadratic and share:
        text += f"; of a + bT + cT², cT² is {percent(share)} at T = {over.split('–')[-1]}"
        text += ", but a pure power of T fits better" if bic < 0 else ""
        estimates["cT² of the whole"] = share
    return Finding(question, text + ".", estimates, word=f"{main}: {line['growth']}",
                   of=f"{of}, T = {over}")  # fmt: skip


def verdicts(words: Mapping[str, str]) -> str:
    """What is said of several: the first one's word, then the others that differ from it, by name."""
    first, *others = dict.fromkeys(words.values())
    named = (f"{', '.join(who for who, word in words.items() if word == other)}: {other}" for other in others)
    return "; ".join((first, *named))


def rising(question: str, lines: Mapping[str, Mapping], what: str, then: str, of: str = "",
           judge: Callable[[Mapping], str] = lambda line: verdict(line["time"])) -> Finding:  # fmt: skip
    """What a cost does from the first to the last of something: `lines` has for each contender time, first and last.

    what: the sentence, with places for {first}, {last}, {who} and {times}; then: its short form for the next ones.
    """
    if not lines:
        return unanswered(question, "two points at least, measured in the same rounds")
    text, before = [], None
    for who, line in lines.items():
        span = {"first": shown(line["first"]), "last": shown(line["last"])}
        form = then if before and (span == before or "{last}" in then) else what
        text.append(form.format(who=who, times=times(line["time"]), **span))
        before = span
    estimates = {who: line["time"] for who, line in lines.items()}
    word = verdicts({who: judge(line) for who, line in lines.items()})
    return Finding(question, f"{', '.join(text)}.", estimates, word=word, of=of)


def in_proportion(line: Mapping) -> str:
    """Whether the time rose by as much as what was varied."""
    return proportion(line["time"], line["last"] / line["first"])
