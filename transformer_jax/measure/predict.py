"""What a cell will cost before anything is compiled: a plan's table and the time that is left."""

from transformer_jax.config import Config
from transformer_jax.measure.closed_form import implementation, matmul_flops, num_params
from transformer_jax.measure.matching import matched
from transformer_jax.ops.recurrence import RECURRENCE

# A rough model of a small CPU, good to a factor of a few: the time left is scaled by what was measured so far.
FLOPS_PER_SECOND = 3e10
BYTES_PER_SECOND = 5e9
SECONDS_PER_SCAN_TRIP = 4e-6
SECONDS_PER_CALL = 1e-4


def predict(config: Config) -> dict[str, float]:
    """FLOPs (matmul, closed form), bytes of memory and seconds of one step of the config's program."""
    config = matched(config)
    flops, stored = matmul_flops(config), _bytes(config)
    mixer = config.model.mixer
    step_by_step = mixer != "attention" and RECURRENCE[mixer].forms == ("sequential",)
    trips = config.task.seq_len if step_by_step else 0
    if config.measure.phase == "decode":
        trips = 1
    depth = config.model.num_layers if config.measure.level == "model" else 1
    passes = 2 if config.measure.phase == "train" else 1
    seconds = flops / FLOPS_PER_SECOND + stored / BYTES_PER_SECOND
    seconds += passes * depth * trips * SECONDS_PER_SCAN_TRIP + SECONDS_PER_CALL
    return {"flops": flops, "bytes": stored, "seconds": seconds}


def _bytes(config: Config) -> int:
    """Parameters with their gradients and moments, activations, and attention scores where they are stored."""
    model, measure = config.model, config.measure
    train = measure.phase == "train"
    depth = model.num_layers if measure.level == "model" else 1
    steps = 1 if measure.phase == "decode" else config.task.seq_len
    kept = depth if train and not model.remat else 1  # a forward pass frees one block's activations for the next
    params = num_params(model, measure.level) * (4 if train else 1)
    width = 4 * model.d_model + (0 if measure.level == "op" else 4 * model.d_model + 2 * model.mlp_width)
    activations = (
        config.task.batch_size * steps * (kept * width + (model.vocab_size if measure.level == "model" else 0))
    )
    scores = 0
    if model.mixer == "attention" and implementation(config) in ("reference", "xla"):
        copies = 2 * kept + 1 if train else 2
        scores = copies * config.task.batch_size * model.num_heads * steps * config.task.seq_len
    cache = 0
    if measure.phase == "decode":
        remembered = 2 * model.kv_heads * model.width_per_head * config.task.seq_len
        if model.mixer != "attention":
            remembered = RECURRENCE[model.mixer].num_carry * model.state_width
        cache = config.task.batch_size * depth * remembered
    return 4 * (params + activations + scores + cache)
