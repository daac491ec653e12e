"""BLEU, its interval and what else is counted of translations, against sacrebleu and slow loops."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU
from sacrebleu.significance import _bootstrap_resample

from transformer_jax.tasks import translation_quality as quality

WORDS = ["0", "1", "end", "un", "chien", "court", "deux", "Chats", "chats", ",", ".", "l'eau", "vingt-six"]
CASES = "chats", "Chats"
END = 2


def decode(ids):
    ids = list(ids)
    return " ".join(WORDS[i] for i in (ids[: ids.index(END)] if END in ids else ids))


def corpus(count=40, seed=0, share=0.7):
    """References of 1 to 12 words and copies of them in which words are replaced and some are cut off."""
    random = np.random.default_rng(seed)
    references = [random.choice(WORDS[3:], random.integers(1, 13)).tolist() for _ in range(count)]
    changed = [[w if random.random() < share else str(random.choice(WORDS[3:])) for w in r] for r in references]
    return [" ".join(words[: random.integers(0, 14)]) for words in changed], [" ".join(words) for words in references]


@given(st.lists(st.tuples(*[st.lists(st.sampled_from(WORDS[3:]), max_size=7)] * 2), min_size=1, max_size=4))
@settings(max_examples=100)
def test_bleu_is_that_of_sacrebleu(pairs):
    """Short corpora, where n-grams are missing and precisions are smoothed."""
    hypotheses, references = zip(*[(" ".join(h), " ".join(r)) for h, r in pairs], strict=True)
    found = quality.score(quality.statistics(hypotheses, references)).value
    assert found == pytest.approx(BLEU().corpus_score(hypotheses, [references]).score, abs=1e-9)


def test_the_interval_is_that_of_a_loop_over_resamples():
    hypotheses, references = corpus(60)
    counts, metric = quality.statistics(hypotheses, references), BLEU()
    random, scores = np.random.default_rng(quality.SEED), []
    for _ in range(quality.RESAMPLES):
        drawn = random.integers(60, size=60)
        scores.append(metric._compute_score_from_stats(counts[drawn].sum(0).astype(int).tolist()).score)
    found = quality.score(counts)
    assert found[1:] == pytest.approx(np.quantile(scores, [0.025, 0.975]))
    assert found.low < found.value < found.high
    _, theirs = _bootstrap_resample(counts.astype(int).tolist(), metric, 1000)
    assert found[1:] == pytest.approx(np.quantile([s.score for s in theirs], [0.025, 0.975]), abs=1.5)


def as_written(hypotheses, references):
    return quality.Written(list(range(len(references))), hypotheses, references, 0, 1)


def test_a_difference_is_paired():
    """What two systems share cancels: one that differs in one sentence has a narrow interval."""
    hypotheses, references = corpus(80)
    better = [references[0] if i == 11 else h for i, h in enumerate(hypotheses)]
    better[11] = references[11]
    one, other = (as_written(h, references) for h in (better, hypotheses))
    alone = [quality.score(quality.statistics(w.hypotheses, references)) for w in (one, other)]
    found = quality.difference([one], [other])
    assert found.value == pytest.approx(alone[0].value - alone[1].value)
    assert found.value > 0 and found.high - found.low < (alone[0].high - alone[0].low) / 3
    assert quality.difference([one], [one]) == (0, 0, 0)
    assert quality.difference([other], [one]) == pytest.approx((-found.value, -found.high, -found.low))
    assert quality.difference([one, other], [other]) == pytest.approx([end / 2 for end in found])  # the mean of lanes
    for wrong in (one._replace(references=references[::-1]), one._replace(index=list(range(1, 81)))):
        with pytest.raises(ValueError, match="same sentences"):
            quality.difference([one], [wrong])


@pytest.mark.alone
@pytest.mark.slow
def test_a_thousand_sentences_take_well_under_a_second():
    counts = np.tile(quality.statistics(*corpus(100)), (10, 1))
    began = time.perf_counter()
    quality.score(counts)
    assert time.perf_counter() - began < 1


def batch_of(targets, index, length=7):
    rows = [np.pad(row, (0, length - len(row))) for row in targets]
    return {"targets": np.array(rows), "lengths": np.array(list(map(len, targets))), "index": np.array(index)}


def test_what_is_counted():
    """Right: 4 of 4; 2 of 4, where the fill after an early end counts for nothing; 1 of 3, without an end."""
    targets = [[3, 4, 5, END], [6, 4, 5, END], [7, 8, END]], [[9, END], [3, END]]
    outputs = [[3, 4, 5, END, END], [6, 4, END, END, END], [8, 8, 8, 8, 8]], [[9, END, END], [0, 0, 0]]
    batches = [batch_of(targets[0], [2, 0, 1]), batch_of(targets[1], [3, -1], 4)]
    given = iter(outputs)
    judge = quality.make_judge(decode)
    found = judge(lambda batch: np.array(next(given)), batches)
    hypotheses = ["un chien court", "deux chien", "chats chats chats chats chats", ","]
    references = ["un chien court", "deux chien court", "Chats chats", ","]
    expected = BLEU().corpus_score(hypotheses, [references]).score
    assert found["bleu"] == pytest.approx(expected) and found["bleu_low"] <= expected <= found["bleu_high"]
    assert found["exact"] == 2 / 4 and found["free_accuracy"] == 9 / 13
    given = iter(outputs)
    written = quality.written(lambda batch: np.array(next(given)), batches, decode)
    assert written.index == [0, 1, 2, 3] and written.hypotheses == [hypotheses[i] for i in (1, 2, 0, 3)]


def test_equal_arguments_give_the_same_judge_and_case_counts():
    assert quality.make_judge(decode) is quality.make_judge(decode)
    assert quality.signature().startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    scores = [
        quality.score(quality.statistics([f"deux {c} , un chien"], ["deux chats , un chien"])).value for c in CASES
    ]
    assert scores[0] == pytest.approx(100) and scores[1] < 50
