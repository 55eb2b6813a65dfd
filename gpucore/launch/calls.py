"""What launch functions call; whether arrays share memory."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpucore.errors import LaunchError
from gpucore.hookspecs import LaunchConfig

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Program
    from gpucore.runtime.array import Array
    from gpucore.runtime.kernel_reports import Record
    from gpucore.runtime.memory_block import Block
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream

__all__ = [
    "Call",
    "FunctionCall",
    "RecordedCall",
    "as_function",
    "backend_call",
    "bind_arguments",
    "can_bind",
    "has_record",
    "indirect",
    "is_object",
    "nothing",
    "overlap",
    "preparer",
    "record_use",
]

Call = Callable[..., None]


def extent_of(array: Array[Any]) -> tuple[int, int]:
    """First byte and end of an array, in its block or in the device's address space where known."""
    allocation = array._block.allocation
    first: int = (getattr(allocation, "address", None) or 0) + array._packed[1]
    if array._sig.contiguous:
        return first, first + array.nbytes
    steps = (
        abs(step) * (n - 1) for n, step in zip(array.shape, array._packed[2 + array.ndim :], strict=False)
    )
    return first, first + (1 + sum(steps)) * array.dtype.itemsize


def overlap(a: Array[Any], b: Array[Any]) -> bool:
    """Whether two arrays may share memory; of views all that lies between their elements counts."""
    if not a.size or not b.size:
        return False
    if a._block is not b._block and not (a._block.outside or b._block.outside):
        return False
    first, second = extent_of(a), extent_of(b)
    return first[0] < second[1] and second[0] < first[1]


def record_use(block: Block, stream: Stream, who: str) -> None:
    """Record the use of a block by a stream that is not its home."""
    if block.home is None:
        raise LaunchError(f"{who} is gone: {block.why}")
    block.record_use(stream)


def is_object(call: Call) -> bool:
    """Whether a call is an object whose class has a ``__call__`` written in Python: Python is quicker to call the method."""
    return isinstance(type(call).__call__, types.FunctionType)


def as_function(call: Call) -> Call:
    """A call as a function, or an object's method."""
    return types.MethodType(type(call).__call__, call) if is_object(call) else call


class FunctionCall:
    """A function where launch functions expect an object."""

    __slots__ = ("_function",)

    def __init__(self, function: Call) -> None:
        self._function = function

    def __call__(self, stream: Any, *packed: Any) -> None:
        self._function(stream, *packed)

    def bind(self, *packed: Any) -> Call:
        """The function with its packed arguments."""
        return bind_arguments(self._function, *packed)


def indirect(call: Call) -> Call:
    """Mark a function that does more than the backend's call."""
    call.__dict__["gpucore_indirect"] = True
    return call


def backend_call(call: Call) -> Any:
    """What the backend prepared for a call; None where more belongs to it."""
    found: Any = call._function if isinstance(call, FunctionCall) else call
    if isinstance(found, types.MethodType):
        found = found.__self__
    if isinstance(found, RecordedCall) or getattr(found, "gpucore_indirect", False):
        return None
    return found


def can_bind(call: Call) -> bool:
    """Whether the backend packs arguments ahead for this call."""
    return hasattr(call, "bind")


def bind_arguments(call: Call, *packed: Any) -> Call:
    """A function that launches with these packed arguments: what is left to give is the stream."""
    prepared: Any = call.__self__ if isinstance(call, types.MethodType) else call
    if hasattr(prepared, "bind"):
        return as_function(prepared.bind(*packed))

    def bound(stream: Any) -> None:
        call(stream, *packed)

    return bound


def nothing(stream: Any, *packed: Any) -> None:
    """The call of a launch of size zero."""


def has_record(program: Program) -> bool:
    """Whether the program's last parameter belongs to the stream: an error record, or what it prints into."""
    return bool(program.params) and program.params[-1].name in ("$error", "$print")


def preparer(state: ContextState, program: Program) -> Callable[[LaunchConfig], Call]:
    """What gives the backend's call for a launch shape of a program; through the hook ``launch`` where somebody listens to it."""
    device = state.device
    if "launch" not in state.hooks.wrapped:
        return functools.partial(state.prepare, device._handle, program.executable)
    launch = state.hooks.launch

    def prepare(config: LaunchConfig) -> Call:
        def call(stream: Any, *packed: Any) -> None:
            launch(device._handle, program.executable, config, stream, packed)

        return indirect(call)

    return prepare


class RecordedCall:
    """A call that adds what belongs to its stream, an error record or what it prints into; it takes the
    stream itself, not the backend's handle."""

    __slots__ = ("_program", "_state", "call")

    def __init__(self, state: ContextState, program: Program, call: Call) -> None:
        self._state = state
        self._program = program
        self.call = call

    def __call__(self, stream: Stream, *packed: Any) -> None:
        record = self.record(stream)
        if record.is_shared:
            if not record.pending:
                record.note()
            self.call(stream._handle, *packed, *record.packed)
            return
        with record as of_stream:
            self.call(stream._handle, *packed, *of_stream)

    def record(self, stream: Stream) -> Record:
        """The record of a stream for this program."""
        return self._state.error_record(stream, self._program)

    def bind(self, *packed: Any) -> Call:
        """The call with packed arguments; they are packed anew where the stream, and so the record, is another."""
        return _RecordedBinding(self, packed).enqueue


class _RecordedBinding:
    """Packed arguments together with the error record of the stream that they were used on last."""

    __slots__ = ("_call", "_last", "_packed")

    def __init__(self, call: RecordedCall, packed: tuple[Any, ...]) -> None:
        self._call = call
        self._packed = packed
        # the stream's current records, this program's, and the call; replaced as a whole, so that a thread never sees half of it
        self._last: tuple[dict[int, Record], Record, Call] | None = None

    def enqueue(self, stream: Stream) -> None:
        last, records = self._last, stream._records
        if last is None or records is None or records.current is not last[0]:
            record = self._call.record(stream)
            bound = bind_arguments(self._call.call, *self._packed, *record.packed)
            assert stream._records is not None
            self._last = (stream._records.current, record, bound)
        else:
            _, record, bound = last
        if record.is_shared:
            if not record.pending:
                record.note()
            bound(stream._handle)
            return
        with record:
            bound(stream._handle)
