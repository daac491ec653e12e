"""A worker process from outside: started in its own group, asked, timed out, and replaced when it dies."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from transformer_jax.config import Config, ConfigError, flatten
from transformer_jax.host import compilation
from transformer_jax.host.exhaustion import is_out_of_memory
from transformer_jax.host.provenance import ROOT
from transformer_jax.lab.sweep import Job
from transformer_jax.lab.worker import NO_DEVICE, requested_bytes

START_SECONDS = 120.0
KILL_SECONDS = 60.0
POLL_SECONDS = 0.2


class WorkerError(Exception):
    """The worker could not be started: no cell can run."""


class Stopped(Exception):
    """The user asked the run to stop while the worker was at work."""


class _Died(Exception):
    """The worker ended without an answer."""


class Worker:
    """Runs cells one at a time in a process of their own.

    Every `run` returns an outcome, whatever the cell does to its process; after a death, a timeout, an
    out-of-memory or an error of the runtime the next `run` starts a new process, so that nothing of the old one
    touches the next cell.
    """

    def __init__(self, experiment: Path, stopping: Callable[[], bool] = lambda: False):
        """Starts nothing yet.

        Args:
          experiment: the folder of the experiment.
          stopping: asked a few times a second while waiting; once True, waiting raises Stopped.
        """
        self._experiment, self._stopping = experiment, stopping
        self._process: subprocess.Popen | None = None
        self.facts: dict | None = None
        self.waiting: Callable[[], None] = lambda: None  # called a few times a second while an answer is awaited

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self) -> dict:
        """Starts the process if there is none; returns its code version and what `provenance.machine` finds there.

        Raises:
          WorkerError: it does not start, or with other code or another device than before.
          ConfigError: JAX finds no device of the kind that was asked for.
          Stopped: see `stopping`.
        """
        if self._process is not None and self._has_exited():
            self.kill()  # it died between two cells: no cell is to blame
        if self._process is None:
            self._spawn()
            try:
                facts = self._receive(START_SECONDS)
            except (_Died, TimeoutError) as error:
                log, end = self._log_tail(), self._has_exited()
                self.kill()
                if end and end.si_status == NO_DEVICE:
                    raise ConfigError(log.strip().rpartition("\n")[2]) from None
                raise WorkerError(f"the worker process did not start ({error}):\n{log}") from None
            if self.facts is not None and facts != self.facts:
                self.kill()
                changed = ", ".join(key for key in facts if facts[key] != self.facts[key])
                raise WorkerError(f"{changed} changed while cells were run: start the run again")
            self.facts = facts
        return self.facts

    def run(self, config: Config, timeout: float, job: Job) -> dict:
        """One outcome of the experiment's cell, as `ask`."""
        return self.ask("cell", config, timeout, [job.seed, str(job.folder), job.round])

    def ask(self, function: str, config: Config, timeout: float, *more) -> dict:
        """One outcome of a function of the experiment's cells.py: as `worker.attempt`, or with status "timeout",
        "killed", or "oom" for a kill by the kernel.

        Raises:
          WorkerError, Stopped: as `start`.
        """
        self._request([function, flatten(config), *more])
        outcome = self._outcome(timeout)
        if _ends_the_process(outcome):
            self.kill()
        return outcome

    def prepare(self, configs: Sequence[Config], timeout: float) -> Iterator[dict]:
        """What `worker.prepare` answers, as it comes, but for the last; a program is then ready in this process alone.

        Where the process dies, or says nothing for `timeout` seconds, a last outcome without "prepared" says how it
        ended: any config that has not come to an end may be the cause.

        Raises:
          WorkerError, Stopped: as `start`.
        """
        self._request(["prepare", [flatten(config) for config in configs]])
        ends = False
        while (outcome := self._outcome(timeout)).get("prepared", -1) is not None:
            ends = ends or _ends_the_process(outcome)
            if "prepared" not in outcome:
                break
            yield outcome
        if ends:
            self.kill()
        if "prepared" not in outcome:
            yield outcome

    @property
    def pid(self) -> int | None:
        """The process that is there, if one is: programs that were prepared in another are lost."""
        return None if self._process is None or self._has_exited() else self._process.pid

    def _request(self, message: list) -> None:
        self.start()
        self._kills = oom_kills()
        self._log_start = self._log.seek(0, os.SEEK_END)
        left = memoryview(json.dumps(message).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):
            while left:
                left = left[os.write(self._requests, left) :]

    def _outcome(self, timeout: float) -> dict:
        """The next answer; with status "timeout", "killed" or "oom" where none comes."""
        try:
            return self._receive(timeout)
        except TimeoutError:
            return {"status": "timeout", "message": f"no answer within {timeout:g} s", "traceback": self._log_tail()}
        except _Died as death:
            return self._post_mortem(str(death), oom_kills() - self._kills)

    def kill(self) -> None:
        """Ends the worker and every process that it started in its group; harmless when there is none.

        Raises:
          WorkerError: the kernel does not let go of it (a driver that hangs): the device cannot be used.
        """
        if self._process is None:
            return
        # The leader is not reaped before this, so its number cannot have passed to a stranger.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            raise WorkerError(f"the worker, process {self._process.pid}, cannot be killed") from None
        self._process = None
        os.close(self._requests)
        os.close(self._responses)
        self._log.close()

    def _spawn(self) -> None:
        child_requests, self._requests = os.pipe()
        self._responses, child_responses = os.pipe()
        self._buffer = b""
        self._log, self._log_start = tempfile.TemporaryFile(), 0
        command = [sys.executable, "-P", "-m", "transformer_jax.lab.worker", str(self._experiment)]
        try:
            self._process = subprocess.Popen(
                [*command, str(child_requests), str(child_responses)],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(child_requests, child_responses),
                start_new_session=True,
                env=environment(),
            )
        finally:
            os.close(child_requests)
            os.close(child_responses)

    def _receive(self, timeout: float) -> dict:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if self._stopping():
                raise Stopped
            self.waiting()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"no answer within {timeout:g} s")
            if select.select([self._responses], [], [], min(remaining, POLL_SECONDS))[0]:
                chunk = os.read(self._responses, 65536)
                if not chunk:
                    raise _Died(self._manner_of_death())
                self._buffer += chunk
            elif self._has_exited():  # a grandchild may still hold the pipe open
                raise _Died(self._manner_of_death())
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _has_exited(self) -> os.waitid_result | None:
        """How the process ended, if it has; leaves it unreaped."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)

    def _manner_of_death(self) -> str:
        deadline = time.monotonic() + 30.0  # a starved process takes its time to end
        while not (end := self._has_exited()):
            if time.monotonic() > deadline:
                return "the worker closed its pipe"
            time.sleep(0.01)
        if end.si_code == os.CLD_EXITED:
            return f"the worker exited with code {end.si_status}"
        return f"the worker was killed by {signal.Signals(end.si_status).name}"

    def _post_mortem(self, death: str, kernel_kills: int) -> dict:
        """A death is an out-of-memory only on evidence: the kernel's counter or the end of the worker's output."""
        log = self._log_tail()
        outcome = {"status": "killed", "message": death, "traceback": log}
        if "SIGKILL" in death and kernel_kills > 0:
            return outcome | {
                "status": "oom",
                "message": f"{death} when memory ran out",
                "requested_bytes": None,
            }
        if is_out_of_memory(log):
            return outcome | {"status": "oom", "requested_bytes": requested_bytes(log)}
        return outcome

    def _log_tail(self) -> str:
        """The end of what the process printed during this cell."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(self._log_start, size - 4000))
        return self._log.read().decode(errors="replace")


def _ends_the_process(outcome: dict) -> bool:
    """An exception of Python leaves the device as it was: the process stays, as a new one costs two seconds and must
    take every program from the cache. An error of the runtime may be sticky on a GPU and fail every later cell."""
    return outcome["status"] not in ("ok", "nan", "failed") or bool(outcome.get("runtime_failed"))


def environment() -> dict[str, str]:
    """The worker's environment: the project importable, XLA's compiled programs kept from run to run."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | compilation.environment() | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory, on this machine or in this cgroup."""
    counters = [Path("/proc/vmstat")]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                counters.append(Path(f"/sys/fs/cgroup{group}/memory.events"))
            elif controllers == "memory":
                counters.append(Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control"))
    total = 0
    for counter in counters:
        with contextlib.suppress(OSError):
            total += sum(int(n) for n in re.findall(r"^oom_kill (\d+)$", counter.read_text(), re.MULTILINE))
    return total
