"""Threads that move the parts of large copies: one alone does not fill the bus.

An interrupt in any place leaves nothing that is waited for in vain: see :func:`take`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from queue import Empty, SimpleQueue
from types import CodeType, FrameType
from typing import Any, TypeVar

__all__ = ["PartWorkers", "is_serving", "serves_calls", "take"]

T = TypeVar("T")
_Function = TypeVar("_Function", bound=Callable[..., Any])
_SERVING: set[CodeType] = set()


def serves_calls(function: _Function) -> _Function:
    """Mark a function of a plugin that runs in a thread of the plugin's own and does what calls of other threads wait for.

    Where a finalizer closes a context in it, another thread does: a closing waits for those calls.
    """
    _SERVING.add(function.__code__)
    return function


def is_serving(frame: FrameType) -> bool:
    """Whether a frame is of a function that :func:`serves_calls` marked."""
    return frame.f_code in _SERVING


def take(source: deque[T], held: list[T]) -> bool:
    """Move the first of a queue into a list; False where there is none.

    CPython runs the handlers of signals between two instructions of Python code, never within a call that goes from C to C, as
    this one does. The caller gives the object back by ``source.extend(held)``, first thing in a ``finally``.
    """
    pop: Callable[[], T] = source.popleft
    try:
        held.extend(islice(iter(pop, None), 1))
    except IndexError:
        return False
    return True


class _Parts:
    """The parts of one copy, which several threads take in turn.

    Threads of the pool are counted while they are at it, in a set: nothing is waited for that an interrupt could lose.
    What they use of the caller's memory is kept until the last has left.
    """

    def __init__(self, nbytes: int, size: int, move: Callable[[int, int], None], keep: object) -> None:
        self._offsets = iter(range(0, nbytes, size))
        self._nbytes, self._size, self._move, self._keep = nbytes, size, move, keep
        self._inside: set[int] = set()
        self._left: SimpleQueue[None] = SimpleQueue()
        self._over = False
        self._errors: list[BaseException] = []

    def work(self) -> None:
        """Move parts until there are no more."""
        for at in self._offsets:
            if self._over or self._errors:
                return
            self._move(at, min(self._size, self._nbytes - at))

    @serves_calls
    def help(self) -> None:
        """What a thread of the pool does."""
        ident = threading.get_ident()
        self._inside.add(ident)
        try:
            if not self._over:
                self.work()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that asked
            self._errors.append(error)
        finally:
            self._inside.discard(ident)
            self._left.put(None)

    def finish(self, *, abandoned: bool) -> None:
        """Wait for the threads that are still at it; raise what went wrong in them."""
        self._over = True
        while self._inside:
            try:
                self._left.get(timeout=0.01)
            except Empty:
                continue
        if self._errors and not abandoned:
            raise self._errors[0]


def _serve(tasks: SimpleQueue[_Parts | None]) -> None:
    """A thread of the pool, until it is told to end."""
    while (parts := tasks.get()) is not None:
        parts.help()
        del parts


class PartWorkers:
    """Threads that move parts, started when first wanted.

    Attributes
    ----------
    count : int
        How many parts are moved at a time; the caller's thread moves some, too.
    """

    def __init__(self, name: str, count: int) -> None:
        self.count = count
        self._name = name
        self._lock = threading.RLock()
        self._tasks: SimpleQueue[_Parts | None] = SimpleQueue()
        self._threads = 0

    def _hire(self, count: int) -> None:
        """Start threads until there are as many."""
        with self._lock:
            while self._threads < count:
                self._threads += 1
                threading.Thread(target=_serve, args=(self._tasks,), name=self._name, daemon=True).start()

    def move(self, nbytes: int, size: int, move: Callable[[int, int], None], keep: object) -> None:
        """Call ``move(offset, nbytes)`` for all parts of a size, several at a time; the first error is raised at the end.

        ``keep`` holds the memory in place until the last thread has left it.
        """
        helpers = min(self.count, -(-nbytes // size)) - 1
        parts = _Parts(nbytes, size, move, keep)
        if helpers < 1:
            parts.work()
            return
        self._hire(helpers)
        try:
            for _ in range(helpers):
                self._tasks.put(parts)
            parts.work()
        except BaseException:
            # the caller's memory is in use until all are done
            parts.finish(abandoned=True)
            raise
        parts.finish(abandoned=False)

    def close(self) -> None:
        """End the threads."""
        for _ in range(self._threads):
            self._tasks.put(None)
