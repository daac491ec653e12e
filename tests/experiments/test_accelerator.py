"""The main experiment at an accelerator's size, as far as a machine without one goes: its programs lower for it."""

import jax
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

import configs
from transformer_jax.config import with_overrides
from transformer_jax.lab import plan
from transformer_jax.measure import cost, programs
from transformer_jax.report import costs

EXPERIMENT = plan.load("attention_cost", configs.get("bench_accelerator"))
LONGEST = 65536


@pytest.mark.parametrize(("platform", "kernel"), [("cuda", "cudnn$fmha"), ("tpu", "tpu_custom_call")])
@pytest.mark.parametrize(
    "overrides",
    [
        {"measure.level": "op", "task.seq_len": 4096},
        {"task.seq_len": 2048},
        {"model.mixer": "lstm", "task.seq_len": 2048},
    ],
)
def test_a_training_step_lowers_with_the_platforms_kernel(monkeypatch, platform, kernel, overrides):
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91100)
    config = with_overrides(EXPERIMENT.base, overrides)
    device = AbstractDevice("TPU v5e" if platform == "tpu" else platform, 1, platform)
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        program = programs.build(EXPERIMENT.cells.work(config))
        arguments = jax.eval_shape(program.make_args)
        counted = cost.counted(program, arguments)
        text = jax.jit(program.fn).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    assert (kernel in text) == (config.model.mixer == "attention")
    assert "bf16" in text
    # the kernel is one operation of a jaxpr, so that what it costs is not known from there
    assert {value is None for value in counted.values()} == {config.model.mixer == "attention"}
    assert costs.flops(counted | {"closed_form_flops": 5}) == (counted["jaxpr_flops"] or 5)


def test_the_longest_cells_are_predicted_to_fit_an_accelerator_but_for_those_that_store_the_scores():
    cells = plan.plan(EXPERIMENT.cells, base=EXPERIMENT.base)
    assert max(cell.config.task.seq_len for cell in cells) == LONGEST
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=AbstractDevice("cuda", 1, "cuda"))):
        too_large = [c.config.model.attention for c in cells if EXPERIMENT.cells.predict(c.config)["bytes"] > 80e9]
    assert set(too_large) <= {"reference"}
