"""The only entry: signals, output streams, exit code; `transformer_jax.cli.main` reads the command line.

With no command it runs the main job, `experiment attention_cost`.

Exit codes: 0 done, where a cell that ran out of memory or time is a result as well, unless all did; 1 a cell failed
or was killed, a report could not be drawn, a loss was not finite, or the machine let the run down; 2 a mistake in the
command; 75 stopped by Ctrl-C or SIGTERM, and the same command goes on from there.
"""

from transformer_jax.host import signals

if __name__ == "__main__":
    signals.end_at_once()  # before the rest is imported, which takes a second and must not be interrupted

import os
import sys

from transformer_jax.cli.main import main
from transformer_jax.host.streams import Unfailing

if __name__ == "__main__":
    nowhere = open(os.devnull, "w")  # Python has no stdout, no stderr, where the command is started without
    sys.stderr = Unfailing(sys.stderr or nowhere)
    # a full disk is an error there; head, which has read enough, is none
    sys.stdout = Unfailing(sys.stdout or nowhere, BrokenPipeError)
    code = main(sys.argv[1:])
    signals.ignore()  # the work is done: the exit code stands
    sys.exit(code)
