"""Memory pools of the user's own: part of a program's memory counted, limited and kept apart."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal

from gpucore.errors import LaunchError
from gpucore.runtime.memory_block import Owner, Reserve, size_class
from gpucore.runtime.memory_pool import Pool

if TYPE_CHECKING:
    from gpucore.hookspecs import MemoryKind
    from gpucore.runtime.context import Context
    from gpucore.runtime.stream import Stream

__all__ = ["MemoryPool"]


class MemoryPool(Pool):
    """A pool for some of a context's arrays: ``ctx.options(pool=pool)`` gives a view of the context that allocates from it.

    Pinned memory stays with the context's own pool. What a pool holds counts towards the context's ``memory_limit``.

    Parameters
    ----------
    context : Context
    size : int
        Bytes that are taken from the driver at once; arrays are cut from them as long as they fit.
    limit : int, optional
        Bytes that the pool may hold, used and cached.
    kind : {"device", "unified"}
        Unified memory is seen by the host, too: ``array.host()``.

    Raises
    ------
    OutOfMemoryError
        Where there are not ``size`` bytes.
    NotSupportedError
        Where the device has no unified memory.
    """

    def __init__(
        self,
        context: Context,
        *,
        size: int = 0,
        limit: int | None = None,
        kind: Literal["device", "unified"] = "device",
    ) -> None:
        state = getattr(context, "_state", None)
        if not isinstance(getattr(state, "pool", None), Pool):
            raise TypeError(f"a MemoryPool is made for a Context, not for {context!r}")
        if kind not in ("device", "unified"):
            raise ValueError(f"a pool's kind is 'device' or 'unified', not {kind!r}")
        size, limit = _bytes("size", size), None if limit is None else _bytes("limit", limit)
        if limit is not None and (limit == 0 or size > limit):
            raise ValueError(f"a pool's limit of {limit} bytes is not enough for its size of {size}")
        state = context._state
        state.check()
        if kind == "unified":
            context._require("unified_memory")
        super().__init__(state, limit)
        self.kind: MemoryKind = kind
        self._closed = False
        self._reserve: Reserve | None = None
        # one queue for all pools of a context: whoever drains it asks each block for its pool
        self.returned = state.pool.returned
        with state.lock:
            state.add_pool(self)
            try:
                if size:
                    size = -(-size // 256) * 256
                    allocation = self._allocate_raw(size, size, kind, state.default_stream)
                    self._reserve = Reserve(allocation, size)
            except BaseException:
                state.remove_pool(self)
                raise

    def __del__(self) -> None:
        # its memory is given back by whoever next drains what finalizers noted, on a thread that may call the driver
        if not getattr(self, "_closed", True) and not self._state.closed:
            self._state.dead_pools.append(self)

    def __repr__(self) -> str:
        return f"<{self.name} used={self._used} cached={self._cached} limit={self.limit}{', closed' if self._closed else ''}>"

    @property
    def name(self) -> str:
        """How errors call it."""
        device = self._state.device
        pools = self._state.pools
        number = pools.index(self) if self in pools else "-"
        return f"MemoryPool {number} of {device.backend}:{device.ordinal}"

    @property
    def _cached(self) -> int:
        return super()._cached + (self._reserve.free if self._reserve is not None else 0)

    def reset_peak(self) -> None:
        """Let ``stats()["peak"]`` start again from what is used now."""
        self._peak = self._used

    def allocate(self, nbytes: int, kind: MemoryKind, stream: Stream) -> Owner:
        """A block, of the reserve where it fits."""
        if self._closed:
            raise LaunchError(f"{self.name} is closed")
        if kind not in ("device", self.kind):
            return self._state.pool.allocate(nbytes, kind, stream)
        kind = self.kind
        state = self._state
        with state.lock:
            if self._reserve is not None:
                if self.returned:
                    self.drain()
                size = size_class(nbytes)
                offset = self._reserve.take(size, stream)
                if offset is not None:
                    if kind == "unified":
                        stream._wait_idle()  # the host writes it when it likes, in no stream's order
                    return self._begin(
                        self._reserve.allocation,
                        size,
                        kind,
                        stream,
                        stream._timeline.epoch,
                        self._reserve,
                        offset,
                    )
            return super().allocate(nbytes, kind, stream)

    def close(self, why: str = "its pool was closed") -> None:
        """Wait for the work of the context, end the pool's arrays, and give all of it back; twice does nothing."""
        state = self._state
        with state.lock:
            if self._closed:
                return
            if not state.closed and state.device._dead is None:
                for stream in state.live_streams():
                    stream._wait_idle()
                super().close(why)
            self._closed = True
            self._piece_returned()
            if not self.lending:
                state.remove_pool(self)

    def _piece_returned(self) -> None:
        """Free the reserve of a closed pool once nobody outside uses a piece of it any more."""
        state, reserve = self._state, self._reserve
        if self._closed and reserve is not None and not self.lending and state.device._dead is None:
            self._reserve = None
            state.free(state.device._handle, reserve.allocation, None)

    def forget(self, why: str) -> None:
        """Drop everything without calling the driver."""
        super().forget(why)
        self._reserve = None
        self._closed = True


def _bytes(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"a pool's {name} is a whole number of bytes, such as 64 << 20, not {value!r}")
    number = operator.index(value)
    if number < 0:
        raise ValueError(f"a pool's {name} is not negative: {number}")
    return number
