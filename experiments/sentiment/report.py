"""The report of `sentiment`: who reads best, what positions give, and where the simple ones win."""

from collections.abc import Mapping

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, all_above, conditions, difference, lines, select, table

AXIS = "contender"
SIMPLE = {"tfidf": "a bag of bigrams", "maxpool": "max-pooled embeddings"}


def _less(rows: Rows, others: Mapping[str, str]) -> dict[str, Estimate]:
    """The encoder's accuracy less that of each other contender (its key and its name), at the best checkpoints."""
    best = select(rows, study="contenders", status="ok", best=True)
    return {name: difference(best, "accuracy", AXIS, "encoder", other) for other, name in others.items()}


def _rule(what: str) -> Rule:
    return Rule(
        f"SUPPORTED if the accuracy of {what}, over seeds, has a 95 % interval above 0; REFUTED if below 0; with"
        " several differences if all of them are, and TASK-DEPENDENT if one is above and one below; else, or where one"
        " is not measured, INCONCLUSIVE.",
        all_above(),
        reads=(_less,),
    )


RULES = {
    "simple": _rule("the encoder with positions less that of each simple reader"),
    "positions": _rule("the encoder with positions less that without"),
    "recurrence": _rule("the encoder with positions less that of the bidirectional LSTM with as many parameters"),
}


def report(rows: Rows) -> Report:
    """The best checkpoint of every seed, compared seed by seed."""
    curve = select(rows, study="contenders", status="ok")
    best = select(curve, best=True)
    networks = [row for row in curve if row["measure.contender"] != "tfidf"]
    return Report(
        question="Is a review positive: what does attention add to simpler readers of its words?",
        answers=(
            Finding("Does the encoder read better than the simple ones?", "the encoder's accuracy less theirs",
                    _less(rows, SIMPLE), RULES["simple"]),
            Finding("Do positions help?", "with positions less without", _less(rows, {"unordered": "difference"}),
                    RULES["positions"]),
            Finding("Is it better than a bidirectional LSTM with as many parameters?",
                    "the encoder's accuracy less the LSTM's", _less(rows, {"bilstm": "difference"}),
                    RULES["recurrence"]),
        ),
        figures=(lines(networks, "step", "accuracy", AXIS, log="", name="accuracy_by_step"),),
        tables=(
            table(best, ("task.name",), AXIS, "accuracy", title="Accuracy on the validation split, best checkpoint"),
            table(best, ("task.name",), AXIS, "parameters", title="Parameters"),
        ),
        limits=(
            *conditions(rows),
            "The checkpoint is chosen on the validation split that it is then compared on, which favours what is"
            " evaluated often: the networks, and not TF-IDF.",
            "TF-IDF reads whole texts and its regularisation was set before; the networks read the first words of each"
            " text, and one learning rate serves them all.",
        ),
    )  # fmt: skip
