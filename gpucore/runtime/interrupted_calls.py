"""Contexts that a finalizer, or the handler of a signal, closes in the middle of a call that uses them.

The call goes on once the finalizer has ended, with memory and handles that must be there still.  So the context takes no new work
from then on, and what it holds is released by a thread of its own, which first waits for the call to return: a count of calls
would cost every launch what only such a closing needs.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from gpucore._part_workers import PartWorkers
from gpucore.errors import GpucoreError
from gpucore.runtime.running_calls import stack_of, uses

if TYPE_CHECKING:
    from gpucore.runtime.state import ContextState

__all__ = ["InterruptedCall", "interrupted_call"]

log = logging.getLogger("gpucore")
_PACKAGE = str(Path(__file__).parent.parent / "_")[:-1]
_DEVICE = str(Path(__file__).parent / "device.py")
_PAUSE, _LONGEST_PAUSE = 0.0002, 0.02


class InterruptedCall:
    """What a closing must not pull memory and handles from under.

    Parameters
    ----------
    frame : FrameType or None
        The outermost call of this thread that uses the context; None in a thread that moves parts of a copy for another thread,
        whose call any closing waits for.
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
        is_worker = is_worker or PartWorkers.is_serving(frame)
    if outermost is None and not is_worker:
        return None
    return InterruptedCall(outermost)


def _asks_device(frame: FrameType, state: ContextState) -> bool:
    """Whether a frame is a method of the context's device, such as ``memory_info``, and no call for any context on it."""
    code = frame.f_code
    return (
        code.co_filename == _DEVICE and code.co_name != "call" and frame.f_locals.get("self") is state.device
    )
