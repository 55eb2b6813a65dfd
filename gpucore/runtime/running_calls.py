"""Calls of other threads that still use a context while it closes.

A launch checks that its arrays are alive and then enters the backend, without a lock: a count or a lock would cost every launch
what only ``close`` needs.  So ``close`` first ends the arrays, after which later calls raise, and then waits for the calls that
other threads had begun, which it finds on their stacks.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from gpucore.runtime.state import ContextState

__all__ = ["calls_outside", "stack_of", "uses", "wait_for_calls"]

log = logging.getLogger("gpucore")
_ROOT = Path(__file__).parent.parent
_FOLDERS = tuple(f"{_ROOT / name}{'/' if '/' in str(_ROOT) else chr(92)}" for name in ("runtime", "launch"))
_PAUSE = 0.0002
_PATIENCE = 30.0
"""Seconds after which a call that does not return is left alone: its thread may wait for the one that closes."""

_OUTSIDE: set[CodeType] = set()
_Function = TypeVar("_Function", bound=Callable[..., Any])


def calls_outside(function: _Function) -> _Function:
    """Mark a function that calls the user's code, or waits for who does, and does not use the device itself.

    It is no call that a closing waits for, though it works with the context; what it calls may be one.
    """
    _OUTSIDE.add(function.__code__)
    return function


def wait_for_calls(state: ContextState, closing: CodeType) -> bool:
    """Wait until other threads have left the calls with which they use a context now; whether there were any.

    Parameters
    ----------
    state : ContextState
        Whose new calls raise already; its lock is not held.
    closing : CodeType
        The code of the function that closes: a thread in it waits for its turn to close.
    """
    mine = threading.get_ident()
    running: dict[int, FrameType] = {}
    for thread, top in sys._current_frames().items():
        frame = None if thread == mine else _call(top, state, closing)
        if frame is not None:
            running[thread] = frame
    if not running:
        return False
    patience = time.monotonic() + _PATIENCE
    while running:
        if time.monotonic() > patience:
            log.warning(
                "%s:%d closes while %d other threads are in calls that use it, which did not return for %d s",
                state.device.backend, state.device.ordinal, len(running), int(_PATIENCE),
            )  # fmt: skip
            break
        time.sleep(_PAUSE)
        now = sys._current_frames()
        for thread, frame in list(running.items()):
            stack = list(stack_of(now.get(thread)))
            if not any(one is frame for one in stack) or any(one.f_code is closing for one in stack):
                del running[thread]
        del now
    return True


def stack_of(top: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that called it, the innermost first."""
    while top is not None:
        yield top
        top = top.f_back


def _call(top: FrameType, state: ContextState, closing: CodeType) -> FrameType | None:
    """The outermost call of a thread that uses the context, None where there is none."""
    found = None
    for frame in stack_of(top):
        if frame.f_code is closing:
            return None
        if uses(frame, state):
            found = frame
    return found


def uses(frame: FrameType, state: ContextState) -> bool:
    """Whether a frame is of a launch or of the runtime, and works with a context."""
    launcher = frame.f_globals.get("LAUNCHER")
    if launcher is not None:  # a launch function
        return _belongs(launcher, state)
    if not frame.f_code.co_filename.startswith(_FOLDERS) or frame.f_code in _OUTSIDE:
        return False
    for value in list(frame.f_locals.values()):
        if _belongs(value, state) or (
            type(value) in (tuple, list) and any(_belongs(part, state) for part in list(value))
        ):
            return True
    return False


def _belongs(value: Any, state: ContextState) -> bool:
    """Whether an object of the package is of the context."""
    if value is state:
        return True
    if not type(value).__module__.startswith("gpucore."):
        return False
    for way in (("_state",), ("state",), ("_stream_state",), ("context", "_state"), ("pool", "_state")):
        part: Any = value
        for name in way:
            part = getattr(part, name, None)
        if part is state:
            return True
    return False
