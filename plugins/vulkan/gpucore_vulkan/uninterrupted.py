"""Steps that no interrupt can part.

CPython runs the handlers of signals between two instructions of Python code: after calls and on jumps back, never
within a call that goes from C to C.  What must happen whole, or not at all, is therefore one such call, as
``next(filter(None, starmap(call, steps)), 0)`` is: it calls functions of C, each with its arguments, until one returns
something true.  Queues and counters that others wait for are changed in no other way, so a KeyboardInterrupt in any
place leaves nothing that is waited for in vain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TypeVar

__all__ = ["take"]

T = TypeVar("T")


def take(source: deque[T], held: list[T]) -> bool:
    """Move the first of a queue into a list; False where there is none.

    The caller gives it back by ``source.extend(held)``, first thing in a ``finally``.
    """
    pop: Callable[[], T] = source.popleft
    try:
        held.extend(islice(iter(pop, None), 1))
    except IndexError:
        return False
    return True
