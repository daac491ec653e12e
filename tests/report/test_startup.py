"""What the kit loads: listing experiments waits for it."""

import subprocess
import sys

CODE = """if True:
    import sys
    import transformer_jax.report
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_importing_the_kit_loads_nothing_that_measures_or_draws():
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert not {"jax", "flax", "matplotlib", "scipy", "jinja2"} & set(ran.stdout.split())
