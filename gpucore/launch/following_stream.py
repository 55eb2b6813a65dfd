"""Streams that come after the work of another device's stream, and are told so only when somebody uses them.

To let a stream wait for another device takes the driver as long as half a launch.  Where one device writes into the memory of
all, again and again, most of these waits are for nothing: the next one covers them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpucore.runtime.stream import Stream

if TYPE_CHECKING:
    from gpucore.hookspecs import StreamHandle
    from gpucore.runtime.context import Context

__all__ = ["FollowingStream"]


class FollowingStream(Stream):
    """A stream of the context's whose handle is given out only after it has been made to wait for its leader.

    Everything that is done with a stream needs its handle, so nobody sees it before the leader's work that it comes after.  Its
    context keeps it: a wait that is due is not lost with the group.

    Parameters
    ----------
    leader : Stream
        Of any device.
    """

    __slots__ = ("_bare", "_due", "_leader", "_met")

    _bare: StreamHandle

    def __init__(self, context: Context, leader: Stream) -> None:
        state = context._state
        state.check()
        self._leader = leader
        self._due = self._met = 0
        handle = state.new_stream_handle(0)
        with state.lock:
            super().__init__(state, handle, 0, None)
            state.kept_streams.append(self)

    def follow_leader(self) -> None:
        """Come after all that the leader was given so far."""
        self._due += 1

    @property
    def _handle(self) -> StreamHandle:
        due = self._due
        if due != self._met:
            self._meet()
            # another thread may do the same, and yet another let more be due: too many waits do no harm
            self._met = due
        return self._bare

    @_handle.setter
    def _handle(self, handle: StreamHandle) -> None:
        self._bare = handle

    def _meet(self) -> None:
        leader, state = self._leader, self._state
        owner = leader._state
        if self._why is not None or leader._why is not None:
            return  # ended streams were waited for
        if owner.device._dead is not None and owner.device is not state.device:
            return  # what a lost device had to do will never be done
        event = owner.take_event()
        try:
            owner.record_event(owner.device._handle, event, leader._handle)
            if all("peer_events" in device.capabilities for device in (owner.device, state.device)):
                state.wait_event(state.device._handle, self._bare, event)
            else:
                owner.synchronize_event(owner.device._handle, event)
        finally:
            owner.give_event(event)
