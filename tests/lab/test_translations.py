"""Translations by a model that reverses its source, or errs in a known place; a picture of what it looked at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import Config, ConfigError, TaskConfig, with_overrides
from transformer_jax.host.folders import FolderError
from transformer_jax.lab import alignments, trained, translations
from transformer_jax.models import Model
from transformer_jax.report.plots import render
from transformer_jax.tasks import registry
from transformer_jax.tasks import translation_quality as quality
from transformer_jax.train import programs

END, LONGEST, VOCAB = 2, 7, 12
CONFIG = Config(task=TaskConfig(name="reversal", seq_len=LONGEST, vocab_size=VOCAB, batch_size=300))


def reverser():
    """Writes its source from behind; at place `errs` the end has probability 0.5, and the right token 0.4."""

    def logits(params, source_BxS, lengths_B, at):
        place_B = jnp.maximum(lengths_B - 2 - at, 0)
        right_B = jnp.where(at < lengths_B - 1, source_BxS[jnp.arange(len(source_BxS)), place_B], END)
        right_BxV, end_V = 0.9 * jax.nn.one_hot(right_B, VOCAB), jax.nn.one_hot(END, VOCAB)
        erring = at == params["errs"]
        return jnp.log(jnp.where(erring, 0.5 * end_V + 0.4 / 0.9 * right_BxV, right_BxV) + 1e-6)

    def apply(params, inputs, *, source, source_lengths, lengths=None, train=False, key=None):
        return jnp.stack([logits(params, source, source_lengths, at) for at in range(inputs.shape[1])], 1)

    def extend(params, tokens_BxL, state):
        source_BxS, lengths_B, at = state
        return logits(params, source_BxS, lengths_B, at)[:, None], (source_BxS, lengths_B, at + 1)

    def alignment(params, inputs, source, source_lengths=None, lengths=None):
        """Of 2 layers and 3 heads; the last step, the end, looks at the source's end."""
        assert inputs[0, 0] == 1 and not (inputs == END).any()
        (steps,), (length,) = inputs.shape[1:], source.shape[1:]
        places_L = jnp.append(length - 2 - jnp.arange(steps - 1), length - 1)
        return jnp.broadcast_to(jax.nn.one_hot(places_L, length), (2, 3, 1, steps, length))

    def read(params, source_BxS, source_lengths_B, max_len):
        return source_BxS, source_lengths_B, 0

    def select(state, rows_N):
        return state[0][rows_N], state[1][rows_N], state[2]

    return Model(None, apply, None, extend, read, select, alignment)


MODEL = reverser()


@pytest.fixture
def run(monkeypatch):
    """Makes a folder hold what errs at the place that is given, of each lane."""

    def make(*errs):
        config = with_overrides(CONFIG, {"train.lanes": len(errs)})
        task = registry.build(config)
        params = {"errs": np.array(errs) if len(errs) > 1 else np.int32(errs[0])}
        compiled = programs.build(MODEL, task.objective, config.train)
        restored = trained.Restored(config, task, MODEL, compiled, 3, params)
        monkeypatch.setattr(trained, "restored", lambda folder, build_task, checkpoint, data_dir: restored)
        return task

    return make


def test_a_text_is_translated_by_the_first_lane_and_a_beam_finds_more(run):
    run(0, 9)
    assert translations.translate("run", None, "a b c d e").text == ""
    found = translations.translate("run", None, "a b c d e", size=3)
    assert found.text == "e d c b a" and found.weights_NxHxLxS is None
    run(9)
    found = translations.translate("run", None, "a b c d", alignment=True)
    assert found.text == "d c b a"
    assert found.source_tokens == ["a", "b", "c", "d", "<end>"] and found.target_tokens == ["d", "c", "b", "a", "<end>"]
    assert found.weights_NxHxLxS.shape == (2, 3, 5, 5)
    assert found.weights_NxHxLxS[1, 2].argmax(-1).tolist() == [3, 2, 1, 0, 4]


@pytest.mark.parametrize("text", ["", " ", "a b c d e f g", "a ? b"])
def test_what_cannot_be_read_is_a_mistake_in_the_command(run, text):
    run(9)
    with pytest.raises(ConfigError, match="--text: "):
        translations.translate("run", None, text)
    with pytest.raises(ConfigError, match="--beam 0: "):
        translations.translate("run", None, "a", size=0)


def test_a_whole_split_by_lane(run):
    task = run(9, 1)
    found = translations.evaluate("run", None, "test")
    right, wrong = found.lanes
    pairs = task.translation.pairs("test")
    assert found.step == 3 and [lane.index for lane in found.written] == [list(range(len(pairs)))] * 2
    assert right["exact"] == right["free_accuracy"] == right["accuracy"] == 1 and right["bleu"] == pytest.approx(100)
    assert found.written[0].hypotheses == found.written[0].references == [target for _, target in pairs]
    assert found.written[1].hypotheses == [target.split()[0] for _, target in pairs]
    assert wrong["accuracy"] > wrong["free_accuracy"]  # after the right tokens it errs in one place alone
    assert wrong["exact"] == np.mean([len(target.split()) == 1 for _, target in pairs])
    assert quality.difference(found.written[:1], found.written[1:]).low > 0
    with pytest.raises(ConfigError, match="no split 'tset'"):
        translations.evaluate("run", None, "tset")


def test_a_file_of_translations_has_a_line_for_each_sentence(run):
    task = run(9)
    (one,) = translations.evaluate("run", None, "validation").written
    other = one._replace(hypotheses=["a\tb\nc", *one.hypotheses[1:]])
    header, first, *rest = translations.as_tsv(task, "validation", [("one", one), ("other", other)]).splitlines()
    assert header == "source\treference\tone\tother" and len(rest) == len(one.index) - 1
    source, target = task.translation.pairs("validation")[0]
    assert first.split("\t") == [source, target, target, "a b c"]


def test_what_is_no_translation_translates_nothing(run, monkeypatch):
    run(9)
    restored = trained.restored(None, None, None, None)
    other = restored._replace(task=restored.task._replace(translation=None))
    monkeypatch.setattr(trained, "restored", lambda *_: other)
    for attempt in (lambda: translations.translate("run", None, "a"), lambda: translations.evaluate("run", None)):
        with pytest.raises(ConfigError, match="run holds a run on reversal, which is not a translation"):
            attempt()


def test_a_picture_shows_the_mean_and_each_head_with_its_tokens(tmp_path):
    from matplotlib.figure import Figure as Canvas

    random, source, target = np.random.default_rng(0), ["Un", "chien", "$", "."], ["A", "dog", "."]
    weights = random.dirichlet(np.ones(4), (2, 5, 3))
    canvas, figure = Canvas(), alignments.figure(weights, source, target)
    figure.draw(canvas)
    panels = [one for one in canvas.axes if one.images]
    assert len(panels) == 1 + 2 * 5
    shown = [np.asarray(one.images[0].get_array()) for one in panels]
    assert np.allclose(shown[0], weights.mean((0, 1))) and np.allclose(shown[1:], weights.reshape(10, 3, 4))
    assert [one.get_title() for one in panels[1:7]] == [*(f"layer 1, head {h}" for h in range(1, 6)), "layer 2, head 1"]
    for one in panels:
        assert [label.get_text() for label in one.get_xticklabels()] == source
        assert [label.get_text() for label in one.get_yticklabels()] in (target, [])
        dots = one.collections[0].get_offsets()
        assert dots.tolist() == [[x, y] for y, x in enumerate(np.asarray(one.images[0].get_array()).argmax(-1))]
    canvas, figure = Canvas(), alignments.figure(weights[:1, :1], source, target)
    figure.draw(canvas)
    assert len([one for one in canvas.axes if one.images]) == 1  # the mean of one head is that head
    path = alignments.write(tmp_path / "a.png", weights[:1, :1], source, target)
    assert path.read_bytes()[:4] == b"\x89PNG" and ">$<" in render(figure)[0]


def test_where_no_picture_goes(tmp_path):
    alignments.check(tmp_path / "a.PNG")
    for path, rule in ((tmp_path / "a.svg", "ends in .png"), (tmp_path / "no" / "a.png", "there is no folder")):
        with pytest.raises((ConfigError, FolderError), match=rule):
            alignments.check(path)
