"""The templates that launch functions are written from, and the names that their text gives to the arguments."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpucore.lang.types import ArgumentType, Parameter
    from gpucore.runtime.geometry import Signature
    from gpucore.runtime.stream import LaunchOptions

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
    "Names",
]


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
