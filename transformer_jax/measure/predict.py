"""What a cell will cost before anything is compiled: a plan's table and the time that is left."""

from transformer_jax.measure.closed_form import implementation, matmul_flops, num_params, record, refusal
from transformer_jax.measure.work import Work

# A rough model of a small CPU, good to a factor of a few: the time left is scaled by what was measured so far.
FLOPS_PER_SECOND = 3e10
BYTES_PER_SECOND = 5e9
SECONDS_PER_SCAN_TRIP = 4e-6
SECONDS_PER_CALL = 1e-4


def predict(work: Work) -> dict[str, float | str]:
    """FLOPs (matmul, closed form), bytes of memory and seconds of one step of the work's program.

    Where it cannot run on this platform also the `refusal`, a text that says why.
    """
    flops, stored = matmul_flops(work), _bytes(work)
    trips = work.steps if record(work.config.model).step_by_step or work.phase == "decode" else 0
    passes = 2 if work.phase == "train" else 1
    seconds = flops / FLOPS_PER_SECOND + stored / BYTES_PER_SECOND
    seconds += passes * _depth(work) * trips * SECONDS_PER_SCAN_TRIP + SECONDS_PER_CALL
    reason = refusal(work)
    return {"flops": flops, "bytes": stored, "seconds": seconds} | ({"refusal": reason} if reason else {})


def _depth(work: Work) -> int:
    return work.config.model.num_layers if work.level == "model" else 1


def _bytes(work: Work) -> int:
    """Parameters with their gradients and moments, activations, and attention scores where they are stored."""
    model, shape, mixer = work.config.model, work.shape, record(work.config.model)
    train = work.phase == "train"
    kept = _depth(work) if train and not model.remat else 1  # a forward pass frees a block's activations for the next
    params = num_params(model, shape, work.level) * (4 if train else 1)
    width = 4 * model.d_model + (0 if work.level == "op" else 4 * model.d_model + 2 * model.mlp_width)
    answers = (1 if shape.pooled else work.steps) * shape.outputs if work.level == "model" else 0
    copies = 2 * kept + 1 if train else 2
    sequence = work.steps * kept * width + answers
    sequence += copies * mixer.stored_scores(implementation(work), work.steps, work.context)
    if work.phase == "decode":
        sequence += _depth(work) * mixer.remembered(work.context)
    return 4 * (params + work.batch_size * sequence)
