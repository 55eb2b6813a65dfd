"""What launch functions call, and the templates that they are written from."""

from __future__ import annotations

import builtins
import functools
import keyword
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpucore.errors import LaunchError
from gpucore.hookspecs import LaunchConfig

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Program
    from gpucore.lang.types import ArgumentType, Parameter
    from gpucore.runtime.array import Array
    from gpucore.runtime.geometry import Signature
    from gpucore.runtime.kernel_reports import Record
    from gpucore.runtime.memory_block import Block
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import LaunchOptions, Stream

__all__ = [
    "CALL",
    "CHECKS",
    "CHOOSE",
    "CHOOSE_CHECKED",
    "CONVERT",
    "ENQUEUE",
    "ENQUEUE_OBSERVED",
    "ENQUEUE_UNBOUND",
    "FIXED_NAMES",
    "KNOWN",
    "MATCHES",
    "STREAM_CHECK",
    "Arguments",
    "ArrayNames",
    "Call",
    "FunctionCall",
    "Names",
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


# --- the text of launch functions
@dataclass(frozen=True)
class Arguments:
    """What a launch function is written for.

    Attributes
    ----------
    kernel : str
    parameters : tuple[Parameter, ...]
        As the user wrote them.
    types : tuple[ArgumentType, ...]
    signatures : tuple[Signature | None, ...]
        Of the arrays.
    constants : Sequence[tuple[Any, str, Any]]
        Where captured constants live: a mapping or object, the name in it, the value then.
    written : frozenset[str]
        Names of the arrays that the kernel writes.
    options : tuple
        How launches without arrays are checked, and their math mode: ``Stream._options``.
    """

    kernel: str
    parameters: tuple[Parameter, ...]
    types: tuple[ArgumentType, ...]
    signatures: tuple[Signature | None, ...]
    constants: Sequence[tuple[Any, str, Any]]
    written: frozenset[str]
    options: LaunchOptions


class Names:
    """Unique Python names, the user's first."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self._used = {*reserved, *keyword.kwlist, *dir(builtins)}

    def new(self, name: str) -> str:
        while name in self._used:
            name += "_"
        self._used.add(name)
        return name


@dataclass
class ArrayNames:
    """The names that a launch function uses for one array."""

    signature: Signature
    parameter: str
    name: str
    block: str
    packed: str


FIXED_NAMES = (
    "launch", "configured", "stream_launch", "stream", "more", "named", "prepared", "launcher", "enqueue", "call",
    "repeated", "ready", "again", "error", "given",
    "LAUNCHER", "MISSING", "CACHE_MISS", "DEVICE", "STREAM", "STREAM_HANDLE", "STATE",
    "TIMELINE", "RECORD_USE", "OVERLAP", "OPTIONS", "OVERLAPPING", "OBSERVATION", "NOTE_LAUNCH", "PREPARE", "BIND",
    "SAME_VALUE", "SCALAR_CLASS", "DEFAULT_FLOAT", "DEVICE_LOST", "USER_ERRORS", "CHOOSE", "reads", "chosen", "Exception",
)  # fmt: skip
"""Names of the text that no argument may take."""

CALL = """\
def launch({head}, /, {keywords}, **named):
    try:
        {stream}
        {defaults}
        try:
            {last} = {prepared}
            {load}
            if (
                {repeated}
            ):
                repeated = True
            elif (
                {known}
            ):
                repeated = False
            else:
                repeated = None
        except (AttributeError, KeyError, ValueError):
            repeated = None
        if repeated is None:
            return CACHE_MISS({owner}, ({names}), more, named)
        {body}
    except USER_ERRORS as error:
        raise error.with_traceback(None) from None
"""

KNOWN = """\
def launch({head}, /):
    {last} = prepared
    {load}
    repeated = (
        {repeated}
    )
    {body}
"""

MATCHES = """\
def launch({head}, /):
    try:
        return (
            {known}
        )
    except (AttributeError, KeyError, ValueError):
        return False
"""

CHECKS = """\
if DEVICE._dead is not None:
    raise DEVICE._failure()
"""

STREAM_CHECK = """\
if stream._why is not None:
    stream._check()
"""

ENQUEUE = """\
NOTE_LAUNCH({kernel!r})
try:
    if repeated and ready is not None:
        ready({target})
    elif repeated and configured._repeated:
        {unpack}
        {choose}
        ready = BIND(call, {arguments})
        {prepared} = ({fields}, ready)
        ready({target})
    else:
        {unpack}
        {choose}
        {call}({target}, {arguments})
        if repeated:
            configured._repeated = True
        else:
            {prepared} = ({fields}, None)
            configured._repeated = False
except DEVICE_LOST as error:
    raise DEVICE._lose(error) from error
except Exception as error:
    DEVICE._judge_launch({kernel!r}, error)
    raise
"""

ENQUEUE_UNBOUND = """\
NOTE_LAUNCH({kernel!r})
try:
    {unpack}
    {choose}
    {call}({target}, {arguments})
    {prepared} = ({fields}, None)
except DEVICE_LOST as error:
    raise DEVICE._lose(error) from error
except Exception as error:
    DEVICE._judge_launch({kernel!r}, error)
    raise
"""

ENQUEUE_OBSERVED = """\
NOTE_LAUNCH({kernel!r})
try:
    again = OBSERVATION.again if repeated and ready is not None else None
    if again is not None:
        again({kernel!r}, {stream}, ready, {target})
    else:
        {unpack}
        {choose}
        OBSERVATION.launch({kernel!r}, {stream}, call, {target}, ({tuple}), LAUNCHER, configured, given)
        {prepared} = ({fields}, None if not repeated else ready or BIND(call, {arguments}))
except DEVICE_LOST as error:
    raise DEVICE._lose(error) from error
"""

CONVERT = """\
if not repeated:
    {convert}
"""

# which program a launch runs: what depends on the arguments is asked here, and not again while they are repeated
CHOOSE = """\
if enqueue is None:
    enqueue = PREPARE(configured)
call = {call}
"""


CHOOSE_CHECKED = """\
reads = ({reads})
if enqueue is None or reads != chosen.reads:
    enqueue, chosen = CHOOSE(configured, enqueue, chosen, reads)
call = {call}
"""
