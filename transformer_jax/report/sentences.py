"""Estimates in words: what stands in a sentence is the number that stands in the figure and the table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isfinite, isnan, log

from transformer_jax.config import MIXERS
from transformer_jax.intervals import Crossing, Estimate, growth_word, verdict
from transformer_jax.report.findings import UNANSWERED, Finding
from transformer_jax.report.tables import number, shown

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
    return Finding(question, f"These rows do not tell: it takes {needs}.", word=UNANSWERED)


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


def passing(found: Crossing, lengths: Sequence[int]) -> tuple[str, str]:
    """Where a costs more than b, to complete such a sentence, and the verdict."""
    at, (first, *_), last = found.at, lengths, lengths[-1]
    if not isnan(at.value):
        signs = [sign for sign in found.order if sign]
        where = f"from T = {number(at.value)} on" if signs[0] < 0 else f"up to T = {number(at.value)}"
        return where + (f" (the first of {found.count} crossings)" if found.count > 1 else ""), "crosses"
    if 0 < at.low and isfinite(at.high):
        return f"from a length between T = {shown(at.low)} and {shown(at.high)} on", "bounded"
    if at.high == first:
        return f"at every length measured (T = {shown(first)} to {shown(last)})", "always more"
    if isfinite(at.high):
        return f"from T = {shown(at.high)} on at the latest (open between T = {shown(first)} and there)", "bounded"
    if at.low == last:
        return f"at no length measured (T = {shown(first)} to {shown(last)})", "never more"
    if at.low > 0:
        return f"at most above T = {shown(at.low)} (open between there and T = {shown(last)})", "bounded"
    return f"perhaps somewhere between T = {shown(first)} and {shown(last)}: no order is certain there", "undecided"


def growing(question: str, who: str, lines: Mapping[str, Mapping], where: str = "", quadratic: bool = False) -> Finding:
    """How costs grow: `lines` of points.growth by quantity, of which the first one's word is the verdict.

    quadratic: also say what share of the first is the last term of a + bT + cT², and whether a pure power fits better.
    """
    main, *others = lines
    line, over = lines[main], lines[main]["over"].replace("–", " to ")
    text = f"{who[:1].upper()}{who[1:]}'s {main} grows as {power(line['exponent'])} from T = {over}{where}"
    text += "".join(f", its {name} as {power(lines[name]['exponent'])}" for name in others)
    estimates = {f"{name}, T = {part['over']}": part["exponent"] for name, part in lines.items()}
    share, bic = line.get("share of cx² at the last"), line.get("BIC of a power of x less this")
    if quadratic and share:
        last = over.split(" ")[-1]
        text += f"; {percent(share)} of the {main} at T = {last} is quadratic"
        text += " if it is a + bT + cT², but a pure power of T fits better" if bic < 0 else ""
        law = "" if isnan(bic) else f", BIC {bic:+.0f}"
        estimates[f"share of cT² in a + bT + cT²{law}"] = share
    return Finding(question, text + ".", estimates, word=growth_word(line["exponent"]))


def verdicts(found: Iterable[str]) -> str:
    """The verdicts of several numbers, in their order; one where all agree."""
    found = list(found)
    return " / ".join(found if len(set(found)) > 1 else found[:1])


def rising(question: str, lines: Mapping[str, Mapping], what: str, where: str = "",
           judge: Callable[[Mapping], str] = lambda line: verdict(line["time"])) -> Finding:  # fmt: skip
    """What a cost does from the first to the last of something: `lines` has for each contender time, first and last.

    what: the beginning of the sentence, "{last} heads instead of {first} take".
    """
    if not lines:
        return unanswered(question, "two points at least, measured in the same rounds")
    text, before = [], None
    for who, line in lines.items():
        span = what.format(first=shown(line["first"]), last=shown(line["last"]))
        text.append(f"{who} {times(line['time'])}" if span == before else f"{span} {who} {times(line['time'])} as long")
        before = span
    estimates = {f"{who}, {shown(line['first'])} to {shown(line['last'])}": line["time"] for who, line in lines.items()}
    word = verdicts(map(judge, lines.values()))
    return Finding(question, f"{'; '.join(text)}{where}.", estimates, word=word)


def in_proportion(line: Mapping) -> str:
    """Whether the time rose by as much as what was varied: by the exponent between the two ends."""
    factor = log(line["last"] / line["first"])
    ends = (log(end) / factor if end > 0 else -inf for end in line["time"][:3])
    exponent = Estimate(*ends, line["time"].n)
    word = growth_word(exponent)
    if word in ("about linear", "undecided"):
        return {"about linear": "about in proportion"}.get(word, word)
    return "less than in proportion" if exponent.high < 1 else "more than in proportion" if exponent.low > 1 else word
