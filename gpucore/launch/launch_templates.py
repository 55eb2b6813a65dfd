"""The templates that launch functions are written from; see :mod:`gpucore.launch.launch_function`."""

from __future__ import annotations

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
]

FIXED_NAMES = (
    "launch", "configured", "stream_launch", "stream", "more", "named", "prepared", "launcher", "enqueue", "call",
    "repeated", "ready", "error", "given", "LAUNCHER", "MISSING", "CACHE_MISS", "DEVICE", "STREAM", "STREAM_HANDLE", "STATE",
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
    {unpack}
    {choose}
    OBSERVATION.launch({kernel!r}, {stream}, call, {target}, ({tuple}), LAUNCHER, configured, given)
    {prepared} = ({fields}, None)
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
