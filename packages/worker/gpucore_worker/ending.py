"""The end of ``gpucore serve``: a first signal lets answers be finished, a second one does not."""

from __future__ import annotations

import asyncio
import socket
from types import FrameType

import uvicorn


class EndingServer(uvicorn.Server):  # type: ignore[misc, unused-ignore]
    """uvicorn's server, which a second signal of either kind ends at once.

    uvicorn itself takes a second SIGTERM for a first one, and from Python 3.12 on waits for connections to close after a second
    SIGINT.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal."""
        if self.should_exit:
            self.force_exit = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what was asked for, or cut connections off once that is not wanted any more."""
        ending = asyncio.ensure_future(super().shutdown(sockets))
        # looked at again and again, as uvicorn does: a signal's handler wakes nobody
        while not ending.done() and not self.force_exit:
            await asyncio.wait({ending}, timeout=0.1)
        if self.force_exit:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
        await ending


__all__ = ["EndingServer"]
