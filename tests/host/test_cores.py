"""Cores: one for all threads while it lasts, and each thread's own again afterwards."""

import os
import threading

import pytest

from transformer_jax.host import cores

pytestmark = pytest.mark.skipif(not cores.can_withhold(), reason="Linux on several cores alone can withhold some")


def of_all_threads() -> dict[int, set[int]]:
    return {thread: os.sched_getaffinity(thread) for thread in cores._threads()}


@pytest.fixture
def waiting():
    """A thread of this process that does nothing."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield thread.native_id
    done.set()
    thread.join()


def test_all_threads_share_a_core_and_get_their_own_back(waiting):
    first = min(os.sched_getaffinity(0))
    os.sched_setaffinity(waiting, {first})
    before = of_all_threads()
    with cores.one_core():
        assert set(map(frozenset, of_all_threads().values())) == {frozenset({first})}
    after = of_all_threads()
    assert after[waiting] == {first} and len(after[threading.main_thread().native_id]) > 1
    assert all(after[thread] == had for thread, had in before.items() if thread in after)


def test_an_error_gives_them_back_and_so_does_a_thread_that_began_meanwhile():
    done, own = threading.Event(), os.sched_getaffinity(0)
    began = threading.Thread(target=done.wait, daemon=True)
    with pytest.raises(KeyError), cores.one_core():
        began.start()
        assert len(os.sched_getaffinity(began.native_id)) == 1
        raise KeyError
    assert os.sched_getaffinity(0) == own and os.sched_getaffinity(began.native_id) == own
    done.set()


def test_a_thread_that_ends_meanwhile_is_no_error(monkeypatch):
    gone, there = 2**22 + 1, cores._threads  # above the largest thread that Linux gives
    monkeypatch.setattr(cores, "_threads", lambda: [gone, *there()])
    with cores.one_core():
        assert cores.count() == 1
    assert cores.count() > 1
