"""Contexts: how a program works with a device."""

from __future__ import annotations

import logging
import math
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from gpucore import config
from gpucore._messages import absent_from_context
from gpucore.errors import ConfigError, LaunchError, NotSupportedError
from gpucore.ir.dtypes import DType, DTypeLike, as_dtype, from_numpy
from gpucore.ir.records import RecordType
from gpucore.runtime import copies
from gpucore.runtime.array import Array
from gpucore.runtime.context_options import as_check, check_options, configure_log, known_options, open_state
from gpucore.runtime.device import Device, open_devices
from gpucore.runtime.geometry import Check, Math, as_shape, check_empty, one_shape
from gpucore.runtime.host_numbers import evenly_spaced, from_host, is_elsewhere, ndarray_of, shape_and_dtype
from gpucore.runtime.memory_pool import Pool
from gpucore.runtime.state import ContextState
from gpucore.runtime.stream import Stream, launch_options, live_stream, refuse_recording
from gpucore.runtime.user_memory import MemoryPool, pinned_ndarray

if TYPE_CHECKING:
    from typing import Self

    from gpucore.hookspecs import DeviceInfo, MemoryKind
    from gpucore.launch.native_module import Module
    from gpucore.runtime.graph_recorder import GraphRecorder
    from gpucore.runtime.pipeline import Pipeline
    from gpucore.runtime.stream import Event

__all__ = ["Context"]

log = logging.getLogger("gpucore")


class Context:
    """Memory, streams and launches on one device.

    Parameters
    ----------
    selector : str or DeviceInfo or Device, optional
        ``"name"``, ``"name:1"``, ``"name:part of the device's name"``, ``"name:uuid"``, or several separated
        by commas; or what :func:`gpucore.devices` lists. Without it the configuration decides, then the plugins' priorities.
    check : {False, True, "auto"}, optional
        ``"auto"``: accesses outside an array become errors, where they are not proven to stay inside; ``True``: so do division by
        zero and ``assert``.  Errors are raised at the next blocking call.
    math : {"strict", "fast"}, optional
        How kernels compute that do not say it themselves.
    wrappers : sequence
        Objects with pluggy hook wrappers around the backend's hooks: profilers, tracers, fault injection.
    memory_limit : int or str, optional
        Bytes that this context may hold, ``"2 GiB"`` too.

    Attributes
    ----------
    backend : str
    device : Device
    default_stream : Stream
        A stream like others: nothing is ordered against it implicitly.
    pool : Pool
    check : {False, True, "auto"}
    math : {"strict", "fast"}
    why : str
        Why this backend was chosen.
    passed_over : tuple[str, ...]
        What was tried before it, with the reasons.

    Raises
    ------
    BackendNotFoundError, BackendUnavailableError, PluginError, ConfigError
    """

    def __init__(
        self,
        selector: str | DeviceInfo | Device | None = None,
        *,
        check: Check | None = None,
        math: Math | None = None,
        wrappers: Sequence[object] = (),
        memory_limit: int | str | None = None,
        _settings: config.Settings | None = None,
    ) -> None:
        settings = config.load() if _settings is None else _settings
        check_options(check, math)
        limit = settings.memory_limit if memory_limit is None else config.memory_limit(memory_limit)
        configure_log(settings)
        state, self.why, self.passed_over = open_state(selector, settings, wrappers, limit)
        self._settings = settings
        self._setup(state, as_check(settings.check if check is None else check), math or settings.math)
        state.options = launch_options(self.check, self.math)
        try:
            state.start()
            state.opened()
        except BaseException:
            state.close()
            raise
        log.info(
            "backend %s, device %d (%s, %s): %s%s",
            self.backend, self.device.ordinal, self.device.name, self.device.kind, self.why,
            "".join(f"; passed over {reason}" for reason in self.passed_over),
        )  # fmt: skip

    if not TYPE_CHECKING:  # a misspelt name is for type checkers to find
        __getattr__ = absent_from_context
        __init__ = known_options(__init__)

    def _setup(self, state: ContextState, check: Check, math: Math) -> None:
        self._state = state
        self.check: Check = check
        self.math: Math = math
        self.backend = state.device.backend
        self.device: Device = state.device

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None) -> Self:
        """A context as a configuration file says (and the environment over it).

        Parameters
        ----------
        path : path, optional
            A ``gpucore.toml`` or ``pyproject.toml``; without it the nearest from the working directory upwards.
        """
        return cls(_settings=config.load(path))

    def options(
        self, *, check: Check | None = None, math: Math | None = None, pool: MemoryPool | None = None
    ) -> Context:
        """A view of this context with other options: the same device, memory and streams.

        Arrays made by the view launch with its options, and are allocated from its pool where one is given.
        """
        check_options(check, math)
        self._state.check()
        if pool is not None and (not isinstance(pool, MemoryPool) or pool._state is not self._state):
            raise ConfigError(f"pool is a gpucore.MemoryPool of this context, not {pool!r}")
        view = object.__new__(type(self))
        view._settings, view.why, view.passed_over = self._settings, self.why, self.passed_over
        view._setup(self._state, self.check if check is None else as_check(check), math or self.math)
        view._parent = self
        view._pool = self._pool if pool is None else pool
        return view

    _parent: Context | None = None
    _pool: MemoryPool | None = None

    def __del__(self) -> None:
        # a context that nobody closed: the next one to be opened on the device closes it
        state = getattr(self, "_state", None)
        if state is not None and self._parent is None and not state.closed:
            open_devices.abandoned.append(state)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "a Context is a device of this process and can be neither pickled nor copied; open another one where "
            "it is wanted: gpucore.Context(selector)"
        )

    def __repr__(self) -> str:
        closed = ", closed" if self._state.closed else ""
        return (
            f"<Context {self.backend}:{self.device.ordinal} {self.device.name!r}, math={self.math}{closed}>"
        )

    @property
    def default_stream(self) -> Stream:
        """The stream of launches and copies that name none."""
        return self._state.default_stream

    @property
    def pool(self) -> Pool:
        """The caching allocator: the context's, or the one that a view was made with."""
        return self._state.pool if self._pool is None else self._pool

    # --- arrays
    def _allocate(
        self, shape: tuple[int, ...], dtype: DType, kind: MemoryKind, stream: Stream | None
    ) -> Array[Any]:
        state = self._state
        state.check()
        if stream is None:
            stream = state.default_stream
            if state.home_streams:
                stream = state.home_streams.get(get_ident(), stream)
        elif live_stream(stream)._state is not state:
            raise LaunchError("the stream belongs to another context")
        size = math.prod(shape)
        if not size:
            check_empty(shape, dtype.itemsize)
            return Array._make(self, None, dtype, shape)
        pool = state.pool if self._pool is None else self._pool
        owner = pool.allocate(size * dtype.itemsize, kind, stream)
        return Array._make(self, owner, dtype, shape, None, owner.block.offset)

    def array(
        self,
        data: npt.ArrayLike | Array[Any],
        dtype: DTypeLike | None = None,
        *,
        stream: Stream | None = None,
    ) -> Array[Any]:
        """A new array with a copy of ``data``: an ndarray, numbers in lists, or another Array.

        Parameters
        ----------
        dtype : dtype, optional
            Convert to it first: a dtype of gpucore or NumPy, or a name of either.
        """
        if isinstance(data, Array):
            if dtype is not None and as_dtype(dtype) is not data.dtype:
                raise TypeError(
                    f"the array has dtype {data.dtype}; converting to {dtype} wants a kernel or .numpy()"
                )
            result = self._allocate(data.shape, data.dtype, "device", stream)
            return result.copy_from(data, stream=stream)
        if not isinstance(data, (np.ndarray, np.generic)) and is_elsewhere(data, self.device):
            from gpucore.runtime.interchange import from_dlpack

            shared = from_dlpack(data, context=self, copy=True)
            return self.array(shared, dtype, stream=stream) if dtype is not None else shared
        copies.refuse_mask(data, "data")
        record: object = dtype
        if isinstance(record, RecordType):
            return from_host(self, data, record, stream)
        host: npt.NDArray[Any]
        element = from_numpy(data.dtype) if dtype is None and isinstance(data, np.ndarray) else None
        if element is not None and isinstance(data, np.ndarray):  # the usual case, without another call
            host = data
        else:
            host, element = ndarray_of(data, None if dtype is None else as_dtype(dtype))
        result = self._allocate(host.shape, element, "device", stream)
        return result.copy_from(host, stream=stream)

    @one_shape
    def empty(self, shape: int | Sequence[int], dtype: DTypeLike) -> Array[Any]:
        """A new array with undefined contents."""
        return self._allocate(as_shape(shape), as_dtype(dtype), "device", None)

    @one_shape
    def zeros(self, shape: int | Sequence[int], dtype: DTypeLike) -> Array[Any]:
        """A new array of zeros."""
        return self.empty(shape, dtype).fill(0)

    @one_shape
    def ones(self, shape: int | Sequence[int], dtype: DTypeLike) -> Array[Any]:
        """A new array of ones."""
        return self.empty(shape, dtype).fill(1)

    def full(self, shape: int | Sequence[int], value: float, dtype: DTypeLike) -> Array[Any]:
        """A new array of ``value``."""
        return self.empty(shape, dtype).fill(value)

    def arange(
        self, start: float, stop: float | None = None, step: float = 1, dtype: DTypeLike | None = None
    ) -> Array[Any]:
        """A new array of evenly spaced numbers, as ``numpy.arange`` makes them.

        Parameters
        ----------
        start, stop, step : number
            With one number alone, from 0 up to it.
        dtype : dtype, optional
            Without it NumPy's choice: ``i64`` for integers, ``f64`` for floats.
        """
        element = None if dtype is None else as_dtype(dtype)
        return self.array(evenly_spaced(start, stop, step, element), element)

    def empty_like(self, array: Array[Any], dtype: DTypeLike | None = None) -> Array[Any]:
        """A new array with undefined contents, of the shape of ``array`` and its dtype unless one is given."""
        shape, own = shape_and_dtype(array)
        return self.empty(shape, own if dtype is None else dtype)

    def zeros_like(self, array: Array[Any], dtype: DTypeLike | None = None) -> Array[Any]:
        """A new array of zeros, of the shape of ``array`` and its dtype unless one is given."""
        return self.empty_like(array, dtype).fill(0)

    def ones_like(self, array: Array[Any], dtype: DTypeLike | None = None) -> Array[Any]:
        """A new array of ones, of the shape of ``array`` and its dtype unless one is given."""
        return self.empty_like(array, dtype).fill(1)

    def full_like(self, array: Array[Any], value: float, dtype: DTypeLike | None = None) -> Array[Any]:
        """A new array of ``value``, of the shape of ``array`` and its dtype unless one is given."""
        return self.empty_like(array, dtype).fill(value)

    def pinned(self, shape: int | Sequence[int], dtype: DTypeLike) -> npt.NDArray[Any]:
        """An ndarray in page-locked host memory, from and to which copies are asynchronous.

        Raises
        ------
        NotSupportedError
            Where the device has no such memory.
        """
        self._require("pinned_memory")
        element, extents = as_dtype(dtype), as_shape(shape)
        self._state.check()
        return pinned_ndarray(self._state, extents, element)

    def unified(self, shape: int | Sequence[int], dtype: DTypeLike) -> Array[Any]:
        """A new array in memory that host and device share.

        Raises
        ------
        NotSupportedError
            Where the device has no such memory.
        """
        self._require("unified_memory")
        return self._allocate(as_shape(shape), as_dtype(dtype), "unified", None)

    def _require(self, capability: str) -> None:
        if capability not in self.device.capabilities:
            raise NotSupportedError(
                f"{self.backend}:{self.device.ordinal} ({self.device.name}) lacks the capability {capability!r}",
                capability=capability,
            )

    # --- streams, events, native code
    def stream(self, *, priority: int = 0, handle: int | None = None) -> Stream:
        """A new stream, or one that wraps an outside stream's handle.

        Parameters
        ----------
        priority : int
            Larger is more urgent, where the device knows priorities.
        handle : int, optional
            Of a stream that another library made; it stays that library's.
        """
        state = self._state
        state.check()
        if state.has_dead():
            state.drain()
        try:
            priority = operator.index(priority)
        except TypeError:
            raise TypeError(f"a stream's priority is an int, not {priority!r}") from None
        return state.new_stream(priority, handle, self)

    def event(self, *, timing: bool = False) -> Event:
        """A new event; only ``timing`` ones can be measured."""
        from gpucore.runtime.stream import Event

        state = self._state
        state.check()
        if state.has_dead():
            state.drain()
        return Event(state, state.create_event(self.device._handle, timing), timing)

    def graph(self) -> GraphRecorder:
        """Record work, to launch it as a whole: ``with ctx.graph() as g:``.

        What this thread enqueues inside the block is recorded instead of done: launches, copies between arrays or with pinned
        ndarrays, fills, events and waits. ``g.launch()`` enqueues it all, as often as is wanted.

        Raises
        ------
        LaunchError
            On entry, where this thread records a graph already; inside the block, for what cannot be recorded; at its end, where
            a stream does not join.
        """
        from gpucore.runtime.graph_recorder import GraphRecorder

        self._state.check()
        return GraphRecorder(self)

    def pipeline(
        self,
        step: Callable[..., Any],
        source: Iterable[Any],
        *,
        depth: int = 3,
        workers: int = 1,
        download: bool = True,
        on_progress: Callable[[int], None] | bool | None = None,
    ) -> Pipeline:
        """Run a step over the items of a source, so that uploads, kernels and downloads of successive items overlap.

        Parameters
        ----------
        step : Callable
            ``step(stream, *arrays)`` enqueues on ``stream`` and returns an Array, or a tuple or dict of Arrays. Steps run one
            after another, on the thread that asks for results, while it asks.
        source : Iterable
            Of ndarrays, or of tuples or dicts of them (dicts become named arguments); numbers and Arrays in them are passed
            on. A thread of the pipeline's advances it. Pinned memory must stay as it is until its result came out.
        depth : int
            The most items under way; from 2 on there is one more while the consumer waits for a result.
        workers : int
            With more than one, items that are callables are called in as many threads.
        download : bool
            Give ndarrays, in pinned memory that is used again once nothing refers to it; else the step's Arrays.
        on_progress : Callable, optional
            Called with the number of results so far, on the consumer's thread; True shows a bar where stderr is a terminal.

        Returns
        -------
        Pipeline
            An iterator over the results in the order of the source, and a context manager.
        """
        from gpucore.runtime.pipeline import Pipeline

        return Pipeline(
            self, step, source, depth=depth, workers=workers, download=download, on_progress=on_progress
        )  # fmt: skip

    def prefetch(
        self, source: Iterable[Any], *, depth: int = 2, stream: Stream | None = None
    ) -> Iterator[Any]:
        """The items of a source as Arrays, uploaded up to ``depth`` items ahead.

        Parameters
        ----------
        source : Iterable
            Of ndarrays, tuples or dicts of them, as for :meth:`pipeline`.
        stream : Stream, optional
            Whose later work comes after the upload of an item; without it the default stream's. An item's memory is used
            again once nothing refers to its arrays and the next item was asked for.
        """
        from gpucore.runtime.pipeline import Prefetch

        return Prefetch(self, source, depth=depth, stream=stream)

    def module(self, source: str | bytes, *, language: str, signatures: dict[str, Sequence[Any]]) -> Module:
        """Native kernels: source or code in a language of the device, with typed signatures.

        Parameters
        ----------
        language : str
            What the backend understands, as its capabilities ``source_*`` say.
        signatures : dict
            For each kernel its parameters: ``{"k": [Array[f32], f32]}``.

        Raises
        ------
        CompileError
            With the compiler's log.
        NotSupportedError
            Where the device does not take the language.
        """
        from gpucore.launch.native_module import Module

        self._state.check()
        return Module(self, source, language, signatures)

    # --- life
    def synchronize(self) -> None:
        """Block until the work of all streams is done, and raise what checked kernels found."""
        state = self._state
        state.check()
        if state.recorders:
            refuse_recording(state, "ctx.synchronize()")
        state.wait_for_streams()

    def close(self) -> None:
        """Wait for the work, free everything and close; closing twice, or a view, does nothing.

        A finalizer or the handler of a signal may close a context in the middle of a call of its thread that uses it: new work
        is refused from then on, and everything is freed once the call has returned.

        Raises
        ------
        KernelBoundsError, KernelAssertionError, KernelDivisionError
            What a checked kernel found and was not reported yet.
        """
        if self._parent is None:
            failures = self._state.close()
            if failures:
                raise failures[0]

    def __enter__(self) -> Self:
        if self._state.closed:
            raise LaunchError("the context is closed")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._parent is not None:
            return
        try:
            failures = self._state.close()
            if error is None and failures:
                raise failures[0]
            for failure in failures:
                if error is not None and failure is not error:
                    error.add_note(f"Found when the context was closed: {type(failure).__name__}: {failure}")
        finally:
            # an interrupt of the wait keeps this frame, which would keep the exception of the body, its frames and their buffers
            del error, trace
