"""Calls that Ctrl-C cannot cut in two.

Python runs signal handlers in the main thread, between two steps of its code: an exception may come up after a thread was
started and before that was written down, or with a lock taken and not yet in a ``with`` block.  What native code, or another
thread, would then wait for in vain is done in a thread of its own.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from gpucore.plugin_api import serves_calls

__all__ = ["held_lock", "uninterrupted"]

P = ParamSpec("P")
T = TypeVar("T")


def held_lock() -> _thread.LockType:
    """A new lock that is taken: whoever waits for it takes it a second time, and any thread may let go of it."""
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


def uninterrupted(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``function`` and return its result; where that may be interrupted, in a thread of its own.

    The wait for it can be interrupted; the call goes on all the same, and its result is dropped.  The caller holds no
    lock that ``function`` takes.
    """
    if threading.current_thread() is not threading.main_thread():
        return function(*args, **kwargs)
    results: list[T] = []
    errors: list[BaseException] = []
    done = held_lock()

    @serves_calls
    def work() -> None:
        try:
            results.append(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  (raised below)
            errors.append(error)
        finally:
            done.release()

    try:
        _thread.start_new_thread(work, ())
    except RuntimeError:
        # no thread starts at the interpreter's exit, or past the system's limit
        return function(*args, **kwargs)
    done.acquire()
    if errors:
        raise errors.pop()
    return results.pop()
