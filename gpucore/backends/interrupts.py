"""Whether a KeyboardInterrupt is the user's or that of code which raises it itself."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["users_interrupts"]


@contextlib.contextmanager
def users_interrupts() -> Iterator[Callable[[], bool]]:
    """Watch for Ctrl-C; gives a function that says whether a KeyboardInterrupt of the block may be the user's.

    Python's own handler is replaced in the block by one that does the same and remembers it.  Handlers of the program stay:
    then every KeyboardInterrupt may be the user's.  Threads other than the main thread get none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: True
        return
    pressed = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: pressed
    finally:
        if signal.getsignal(signal.SIGINT) is handler:  # else the code of the block set one of its own
            signal.signal(signal.SIGINT, signal.default_int_handler)
