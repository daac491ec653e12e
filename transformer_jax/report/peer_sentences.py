"""What the pairs say, in sentences made from their numbers, and the table of who is faster where."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from statistics import median

from transformer_jax.report.content import Table
from transformer_jax.report.peer_pairs import JAX_PEERS, LENGTH, Pair, Study, contender, problem, work
from transformer_jax.report.words import listed, number, percent


def sentences(study: Study) -> tuple[str, ...]:
    """The whole first, then each problem, the losses, what our own choice misses, and what was not measured."""
    peers = [pair for pair in study.pairs if pair.is_peer]
    found = _whole(peers, study.floor) + _problems(peers) + _fastest_jax(peers) + _losses(peers) + _choice(study.pairs)
    return (*found, *_conditions(study))


def tables(study: Study) -> tuple[Table, ...]:
    """One row for each pair; none where there is no pair."""
    rows = []
    for pair in study.pairs:
        times = [median(cell["step_seconds"]) for cell in (pair.ours, pair.theirs)]
        ratio = pair.ratio
        interval = (ratio.value, ratio.low, ratio.high) if ratio else (times[0] / times[1], None, None)
        memory = [None if (b := cell.get("temp_bytes")) is None else b / 2**20 for cell in (pair.ours, pair.theirs)]
        agree = pair.theirs.get("largest_difference")
        rows.append((pair.problem, pair.work, pair.length, pair.peer, *times, *interval, pair.faster, *memory, agree))
    if not rows:
        return ()
    columns = ("problem", "work", "T", "other", "ours (s)", "other (s)", "ours / other", "low", "high", "faster",
               "temporaries, ours (MiB)", "other (MiB)", "outputs differ by")  # fmt: skip
    note = (
        "Times are medians over rounds; the ratio is taken within each round, with its 95 % interval. Ours is `auto`,"
        " and our other implementations of attention stand among the others. Outputs differ by: the largest difference"
        " from ours, as a share of the largest entry. PyTorch does not say what temporaries it needs."
    )
    return (Table("Who is faster where", columns, tuple(rows), note),)


def _whole(peers: list[Pair], floor: float | None) -> list[str]:
    told = Counter(pair.faster for pair in peers)
    if not peers:
        return []
    said = (
        f"Of {len(peers)} comparisons with another library, ours is faster in {told['ours']}, the other in"
        f" {told['theirs']}, and {told['not distinguishable']} are not distinguishable"
    )
    if rest := told["not told: one round"]:
        said += f"; {rest} had fewer than two rounds in common"
    if floor is not None:
        said += f" (the same program, compiled twice, differed from itself by up to {percent(floor)}: no less counts)"
    return [f"{said}. Square brackets hold 95 % intervals over rounds."]


def _problems(peers: list[Pair]) -> list[str]:
    """Our time over each peer's, problem by problem."""
    found = []
    for (name, kind), pairs in _grouped(peers, lambda pair: (pair.problem, pair.work)).items():
        parts = [_against(peer, of_peer) for peer, of_peer in _grouped(pairs, lambda pair: pair.peer).items()]
        if any(parts):
            found.append(f"{_capital(name)}, {kind}, our time over theirs: {'; '.join(filter(None, parts))}.")
    return found


def _against(peer: str, pairs: list[Pair]) -> str | None:
    """The first length and the last; the table has those between."""
    pairs = sorted((pair for pair in pairs if pair.ratio), key=lambda pair: pair.length)
    ends = pairs[:1] + pairs[-1:] if len(pairs) > 1 else pairs
    return f"{peer} {listed((f'{_ratio(pair)} at T = {pair.length}' for pair in ends), ' and ')}" if ends else None


def _fastest_jax(peers: list[Pair]) -> list[str]:
    """At each attention problem, the JAX library that ours does worst against, round by round."""
    found = []
    jax_pairs = [pair for pair in peers if pair.peer in JAX_PEERS and pair.ratio and "attention" in pair.problem]
    for (name, kind), pairs in _grouped(jax_pairs, lambda pair: (pair.problem, pair.work)).items():
        best = [
            max(at_length, key=lambda pair: pair.ratio.value)
            for at_length in _grouped(pairs, lambda pair: pair.length).values()
        ]
        parts = [f"{_ratio(pair)} at T = {pair.length} ({pair.peer})" for pair in best]
        found.append(f"{_capital(name)}, {kind}, over the fastest other JAX implementation: {listed(parts)}.")
    return found


def _losses(peers: list[Pair]) -> list[str]:
    lost = [pair for pair in peers if pair.faster == "theirs"]
    parts = [f"{p.problem}, {p.work}, T = {p.length}: {p.peer} ({_ratio(p)})" for p in lost]
    if parts:
        return [f"The other is faster in: {'; '.join(parts)}."]
    return ["In no comparison is the other distinguishably faster."] if any(pair.ratio for pair in peers) else []


def _choice(pairs: Iterable[Pair]) -> list[str]:
    """Where `auto` takes one of our implementations while another of ours is faster."""
    better = [pair for pair in pairs if not pair.is_peer and pair.faster == "theirs"]
    parts = [f"{p.peer} at T = {p.length} ({p.problem}, {p.work}, {_ratio(p)})" for p in better]
    return [f"Among our own, `auto` is slower than {listed(parts)}."] if parts else []


def _conditions(study: Study) -> list[str]:
    found = [
        f"{_capital(problem(cell))}, {work(cell)}, T = {cell.get(LENGTH)}: {contender(cell)} {_how(cell)}."
        for cell in study.failed
    ]
    rounds, noisy = (sum(cell[name] for cell in study.cells) for name in ("rounds", "rounds_noisy"))
    if not any(pair.ratio for pair in study.pairs):
        found.insert(0, "No two contenders of one problem have two rounds in common: there is nothing to compare.")
    return [*found, f"{noisy} of {rounds} samples were taken while the machine's speed was changing."]


def _how(cell: dict) -> str:
    message = str(cell.get("message") or "").strip().splitlines()
    why = f": {message[0].rstrip('.')}" if message else ""
    return {"oom": "ran out of memory", "timeout": "timed out", "nan": "gave NaN"}.get(cell["status"], "failed") + why


def _ratio(pair: Pair) -> str:
    ratio = pair.ratio
    return f"{number(ratio.value)} [{number(ratio.low)}, {number(ratio.high)}]"


def _grouped(pairs: Iterable[Pair], key) -> dict:
    groups = defaultdict(list)
    for pair in pairs:
        groups[key(pair)].append(pair)
    return groups


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
