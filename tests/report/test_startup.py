"""What the kit loads: listing experiments waits for it."""

import subprocess
import sys

CODE = """if True:
    import sys, time
    start = time.perf_counter()
    import transformer_jax.report
    print(time.perf_counter() - start, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_importing_the_kit_loads_nothing_that_measures_or_draws():
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    seconds, *modules = ran.stdout.split()
    assert not {"jax", "flax", "matplotlib", "scipy", "jinja2"} & set(modules)
    assert float(seconds) < 1.0  # 0.1 s where nothing else runs; numpy is most of it
