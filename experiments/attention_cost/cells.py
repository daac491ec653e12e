"""What does attention cost against a recurrence: in time, FLOPs and memory, over length, heads and depth?

The op alone, one block and the whole model, forward and in training, and decoding, all in one run on one clock.
A round samples every cell once in a random order; a cell's program is compiled in its first round and kept.
"""

from dataclasses import asdict
from functools import cache

import configs
from transformer_jax.config import Config, ConfigError
from transformer_jax.report import attention_cost
from transformer_jax.lab.sweep import chain, grid

BASE = configs.get("bench")

LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096]
SPARSE = LENGTHS[::2]
WHOLE = [64, 128, 512, 1024, 4096]  # `auto` runs one program from 128 on: a polynomial takes four lengths of one
CAREFUL = {"measure__rounds": [10], "measure__min_sample_seconds": [0.3]}  # where the exponent is fitted
AUTO = {"model.mixer": ["attention"], "model.attention": ["auto"]}
REFERENCE = {"model.mixer": ["attention"], "model.attention": ["reference"]}  # stores every score: a wall, at short T
RECURRENT = {"model.mixer": ["rnn", "gru", "lstm", "min_gru"]}
PARALLEL = {"model.mixer": ["min_gru"], "model.recurrence": ["associative"]}  # no loop over time
LSTM = {"model.mixer": ["lstm"]}


def over(kinds, level, phase, lengths, **axes):
    """A grid for each kind of mixer: an attention implementation means nothing to a recurrence, nor do heads."""
    grids = []
    for kind in kinds:
        measured = {"measure.level": level, "measure.phase": phase, "task.seq_len": lengths}
        grids.append(grid(measured | kind | {key.replace("__", "."): values for key, values in axes.items()}))
    return chain(*grids)


SWEEP = chain(
    # length, at three levels: where the quadratic term is all there is, and where it hides behind the rest
    over([AUTO], ["op"], ["train"], LENGTHS[:4]),
    over([AUTO], ["op"], ["train"], [*LENGTHS[4:], 8192], **CAREFUL),
    over([RECURRENT], ["op"], ["train"], LENGTHS),
    over([REFERENCE], ["op"], ["train"], LENGTHS[:-1]),
    over([PARALLEL], ["op"], ["train"], SPARSE),
    over([AUTO, LSTM], ["op"], ["forward"], SPARSE),
    over([AUTO, LSTM], ["block"], ["train"], WHOLE[1:]),
    over([AUTO, LSTM], ["model"], ["train"], WHOLE),
    over([AUTO, RECURRENT], ["model"], ["forward"], [128, 512, 4096]),
    # the same question at equal parameters, and at equal training FLOPs
    over([LSTM], ["model"], ["train"], [128, 512, 4096], measure__matching=["params", "flops"]),
    # heads that share d_model, then heads of a fixed width
    over([AUTO], ["op"], ["train"], [256, 1024], model__num_heads=[1, 2, 4, 8, 16]),
    over([AUTO], ["op"], ["train"], [256, 1024], model__num_heads=[1, 2, 8], model__head_dim=[16]),
    over([AUTO], ["model"], ["forward"], [512], model__num_heads=[1, 4, 16]),
    # depth
    over([AUTO], ["model"], ["train"], [512, 1024], model__num_layers=[1, 2, 8]),
    over([LSTM], ["model"], ["train"], [1024], model__num_layers=[1, 2, 8]),
    # one token, at the end of a context of T
    over([AUTO, LSTM], ["model"], ["decode"], SPARSE),
    # the same program once more: what this machine cannot tell apart
    over([AUTO, LSTM], ["op"], ["train"], [64, 1024], measure__repeat=[1]),
    over([AUTO, LSTM], ["model"], ["forward"], [512], measure__repeat=[1]),
)
report = attention_cost.report

# What measures is imported where it is used: jax takes seconds to load, and a plan or a report has no need of it.


def predict(config: Config) -> dict:
    """What the config's program will cost; see `measure.predict`.

    Raises:
      ConfigError: another library or another task, which this experiment does not measure.
    """
    from transformer_jax.measure.predict import predict

    if config.measure.peer != "ours":
        raise ConfigError(f"measure.peer={config.measure.peer}: only the experiment peers measures other libraries")
    if config.task.name != BASE.task.name:
        raise ConfigError(f"task.name={config.task.name}: this experiment measures on {BASE.task.name} alone")
    return predict(config)


def cell(config: Config) -> dict:
    """One sample of the config's program, beside what is known of it without a clock."""
    from transformer_jax.measure import timing

    columns, steps, arguments, timer = _prepare(config)
    arguments()  # made outside the sample where they were not kept
    sample = asdict(timer())
    sample |= {name: sample[name] / steps for name in ("step_seconds", "cpu_seconds")}
    sample["inner_steps"] *= steps
    return columns | sample | {"matmul_peak_flops": timing.calibration(config.model.dtype).peak_flops}


@cache
def _prepare(config: Config) -> tuple:
    """Compiles and counts once a cell; (columns, steps of a call, arguments, timer, which keeps the program)."""
    from transformer_jax.measure import closed_form, flops, memory, programs, timing
    from transformer_jax.measure.matching import matched

    program = programs.build(config)
    arguments = programs.Arguments(program.make_args)
    args = arguments()
    compiled = timing.compile_program(program.fn, args)
    counted = flops.count(program.fn, *args)
    model = matched(config).model
    xla = compiled.program.cost_analysis() or {}
    columns = {
        "compile_seconds": compiled.compile_seconds,
        "compile_cached": compiled.cached,
        "tokens": program.tokens,
        "mixer_width": model.state_width if model.mixer != "attention" else model.num_heads * model.width_per_head,
        "num_params": closed_form.num_params(model, config.measure.level),
        "implementation": closed_form.implementation(config),
        "closed_form_flops": closed_form.matmul_flops(matched(config)),
        "jaxpr_matmul_flops": round(counted.matmul_flops / program.steps),
        "jaxpr_flops": round(counted.flops / program.steps),
        "jaxpr_transcendentals": round(counted.transcendentals / program.steps),
        "jaxpr_bytes": round(counted.bytes / program.steps),
        "sequential_depth": round(counted.sequential_depth / program.steps),
        "xla_flops": xla.get("flops"),
        "xla_bytes": xla.get("bytes accessed"),
        **asdict(memory.program_memory(compiled.program)),
        **memory.peak_columns(compiled, args),
    }
    return (
        columns,
        program.steps,
        arguments,
        timing.Timer(
            lambda: compiled(*arguments()),
            config.measure.min_sample_seconds,
            timing.calibration(config.model.dtype),
        ),
    )
