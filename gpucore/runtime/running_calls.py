"""Calls that use a context while it closes: of other threads, and those that a finalizer or a handler of signals interrupts.

A launch checks that its arrays are alive and then enters the backend, without a lock: a count or a lock would cost every launch
what only ``close`` needs.  So ``close`` first ends the arrays, after which later calls raise, and then waits for the calls that
other threads had begun, which it finds on their stacks.

The call goes on once the finalizer has ended, with memory and handles that must be there still.  So the context takes no new work
from then on, and a thread of its own releases what it holds once the call has returned.
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

from gpucore._part_workers import is_serving
from gpucore.errors import GpucoreError

if TYPE_CHECKING:
    from gpucore.runtime.state import ContextState

__all__ = ["InterruptedCall", "calls_outside", "interrupted_call", "stack_of", "uses", "wait_for_calls"]


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


_PACKAGE = str(Path(__file__).parent.parent / "_")[:-1]
_DEVICE = str(Path(__file__).parent / "device.py")
_LONGEST_PAUSE = 0.02


class InterruptedCall:
    """What a closing must not pull memory and handles from under.

    Parameters
    ----------
    frame : FrameType or None
        The outermost call of this thread that uses the context; None in a thread that works for calls of other threads, for
        which any closing waits.
    """

    def __init__(self, frame: FrameType | None) -> None:
        self._thread = threading.get_ident()
        self._frame = frame

    def close_afterwards(self, state: ContextState) -> None:
        """Refuse new work now, and close the context once the call has returned."""
        state.ending = True
        if state.lock.acquire(blocking=False):  # who holds it may wait for this thread
            try:
                state.end_arrays()
            finally:
                state.lock.release()
        thread = threading.Thread(target=self._close, args=(state,), name="gpucore-close", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.debug("a context is closed at exit, since no thread starts any more: %s", error)

    def _close(self, state: ContextState) -> None:
        from gpucore.runtime.device import open_devices

        state.end_arrays()
        self._wait()
        open_devices.closers.add(self)
        try:
            failures = state.close()
        except Exception as error:  # noqa: BLE001 - nobody else is there to hear of it
            failures = [error]
        finally:
            open_devices.closers.discard(self)
        for failure in failures:
            log.error(
                "found when a context was closed that a finalizer closed in the middle of a call: %s",
                failure if isinstance(failure, GpucoreError) else repr(failure),
            )

    def _wait(self) -> None:
        """Until the call has returned, however long that takes."""
        pause = _PAUSE
        while self._frame is not None:
            if all(frame is not self._frame for frame in stack_of(sys._current_frames().get(self._thread))):
                self._frame = None
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def interrupted_call(state: ContextState, closing: CodeType) -> InterruptedCall | None:
    """The call that this thread is in the middle of while it closes a context, None where there is none.

    Parameters
    ----------
    state : ContextState
    closing : CodeType
        The code of the function that closes: a closing that is interrupted by another of the same context goes on itself.
    """
    outermost, is_worker, outside = None, False, False
    for frame in stack_of(sys._getframe(1)):
        # what the closing itself is called by within the package
        outside = outside or not frame.f_code.co_filename.startswith(_PACKAGE)
        if not outside:
            continue
        if frame.f_code is closing and frame.f_locals.get("self") is state:
            return None
        if uses(frame, state) or _asks_device(frame, state):
            outermost = frame
        is_worker = is_worker or is_serving(frame)
    if outermost is None and not is_worker:
        return None
    return InterruptedCall(outermost)


def _asks_device(frame: FrameType, state: ContextState) -> bool:
    """Whether a frame is a method of the context's device, such as ``memory_info``, and no call for any context on it."""
    code = frame.f_code
    return (
        code.co_filename == _DEVICE and code.co_name != "call" and frame.f_locals.get("self") is state.device
    )
