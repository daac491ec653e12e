"""Parts by the paths of the parameter tree: which leaves, what is refused, a random subset of equal size."""

import jax
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import ConfigError, ModelConfig, Shape
from transformer_jax.continual import parts
from transformer_jax.train.leaves import name


def shapes(scan_layers=False, **model):
    config = ModelConfig(d_model=8, num_heads=2, num_layers=2, mlp_dim=12, max_len=8, scan_layers=scan_layers, **model)
    return jax.eval_shape(models.build(config, Shape(5, 7, vocab_size=7)).init, jax.random.key(0))


def chosen(tree, part):
    mask = parts.mask(tree, part)
    return {name(path) for path, leaf in jax.tree_util.tree_leaves_with_path(mask) if np.asarray(leaf).all()}


@pytest.mark.parametrize("scan_layers", [False, True])
def test_which_parameters_a_part_is(scan_layers):
    tree = shapes(scan_layers)
    layers = ["blocks"] if scan_layers else ["block_0", "block_1"]
    wanted = {f"{b}/mixer/{one}/{w}" for b in layers for one in ("query", "key") for w in ("kernel", "bias")}
    assert chosen(tree, "query_key") == wanted
    assert chosen(tree, "value_out") | wanted == chosen(tree, "mixer")
    assert chosen(tree, "mlp/Dense_0") < chosen(tree, "mlp")
    assert chosen(tree, "embeddings") == {"embedding/token/embedding"}
    everything = {name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}
    assert chosen(tree, "all") == everything
    assert parts.size(parts.mask(tree, "all")) == sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_a_piece_of_a_word_is_no_part():
    with pytest.raises(ConfigError, match="continual.part=mix matches no parameter.*did you mean mixer"):
        parts.mask(shapes(), "mix")


@pytest.mark.parametrize("part", ["query_key", "value_out"])
def test_a_recurrence_has_no_queries_and_keys(part):
    tree = shapes(mixer="gru", recurrent_dim=6)
    with pytest.raises(ConfigError, match="the parts there are all, mixer, mlp, embeddings, head, or pieces of paths"):
        parts.mask(tree, part)
    assert chosen(tree, "mixer")


def test_a_random_subset_has_the_size_it_is_asked_for_and_is_its_seeds():
    tree = shapes()
    count = parts.size(parts.mask(tree, "query_key"))
    one, again, other = (parts.subset(tree, count, seed) for seed in (3, 3, 4))
    assert parts.size(one) == parts.size(other) == count
    assert jax.tree.structure(one) == jax.tree.structure(tree)
    assert jax.tree.all(jax.tree.map(np.array_equal, one, again))
    assert not jax.tree.all(jax.tree.map(np.array_equal, one, other))
