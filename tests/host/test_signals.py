"""The first signal asks, the second ends the process, and afterwards signals are what they were."""

import os
import signal
import subprocess
import sys
import time

import pytest

from transformer_jax.host.signals import RESUMABLE, stop_signals

ASKED = """if True:
    import time
    from transformer_jax.host.signals import stop_signals
    with stop_signals() as stopping:
        print("ready", flush=True)
        while not stopping():
            time.sleep(0.01)
        print("asked", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_exits_at_once(number):
    process = subprocess.Popen([sys.executable, "-c", ASKED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for word in ("ready\n", "asked\n"):
        assert process.stdout.readline() == word
        process.send_signal(number)
    _, text = process.communicate(timeout=10)
    assert process.returncode == RESUMABLE and "once more to exit at once" in text


BUSY = """if True:
    import ctypes, sys
    from transformer_jax.host.signals import stop_signals
    with stop_signals(lambda: {leave}) as stopping:
        print("ready", flush=True)
        ctypes.CDLL(None).usleep(5_000_000)  # as a compiler does: outside Python, and not to be interrupted
        ctypes.CDLL(None).usleep(25_000_000)
"""


@pytest.mark.parametrize(("leave", "signals"), [(True, 1), (False, 2)])
def test_a_main_thread_that_is_not_in_python_does_not_delay_the_end(leave, signals):
    process = subprocess.Popen([sys.executable, "-c", BUSY.format(leave=leave)], stdout=subprocess.PIPE)
    process.stdout.readline()
    began = time.monotonic()
    for n in range(signals):
        process.send_signal(signal.SIGTERM)
        if n + 1 < signals:
            time.sleep(0.5)
            assert process.poll() is None
    assert process.wait(timeout=10) == RESUMABLE and time.monotonic() - began < 3
    process.stdout.close()


UNHEARD = """if True:
    import os, time
    from transformer_jax.host.signals import stop_signals
    def leave():
        {leave}
    with stop_signals(leave) as stopping:
        print("ready", flush=True)
        while not stopping():
            time.sleep(0.01)
        print("asked", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("leave", ["os.write(2, b'stopped')", "time.sleep(60)"])
def test_the_second_signal_ends_whatever_the_first_one_meets(leave):
    """A pipe that nobody reads, or something that does not come back."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", UNHEARD.format(leave=leave)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, text=True)
    os.close(writer)
    for word in ("ready\n", "asked\n"):
        assert process.stdout.readline() == word
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == RESUMABLE
    process.stdout.close()


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_signals() as stopping:
        assert not stopping()
        signal.raise_signal(signal.SIGINT)
        assert stopping()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


EXITING = """if True:
    import atexit, os, signal
    from transformer_jax.host import signals as stopping
    stopping.end_at_once()
    atexit.register(os.kill, os.getpid(), signal.{number})
    {ignore}
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_to_a_process_that_has_ended_its_work_changes_nothing(number):
    codes = [
        subprocess.run([sys.executable, "-c", EXITING.format(number=number, ignore=ignore)]).returncode
        for ignore in ("", "stopping.ignore()")
    ]
    assert codes == [RESUMABLE, 0]
