"""Every exception that gpucore raises, each also one of Python's own where there is a fitting one.

All are picklable: they travel between processes with their attributes.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar


class GpucoreError(Exception):
    """The base of all errors of gpucore."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the frames of the user's code."""
        from gpucore._messages import rendered

        return rendered(self)


def _rebuild(cls: type[GpucoreError], args: tuple[Any, ...], state: dict[str, Any]) -> GpucoreError:
    error = cls(*args)
    error.__dict__.update(state)
    if isinstance(error, SyntaxError):
        # SyntaxError keeps these in slots of its own, which __dict__ does not carry
        for name in ("filename", "lineno", "offset", "text", "msg", "end_lineno", "end_offset"):
            setattr(error, name, state.get(f"_{name}"))
    return error


class BackendNotFoundError(GpucoreError, LookupError):
    """No installed plugin has the name asked for."""


class BackendUnavailableError(GpucoreError):
    """A plugin is installed but cannot open a device; the message says why and what to do."""


class PluginError(GpucoreError):
    """A plugin breaks the contract: it fails at import, lacks a hook, wants another gpucore, or is a
    duplicate.
    """


class ConfigError(GpucoreError, ValueError):
    """A configuration file or environment variable has an unknown key or a bad value."""


class DeviceError(GpucoreError):
    """The driver reported an error.

    Attributes
    ----------
    code : int | None
        The driver's number.
    name : str | None
        The driver's name for it, such as ``"CUDA_ERROR_ILLEGAL_ADDRESS"``.
    """

    def __init__(self, message: str = "", *, code: int | None = None, name: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.name = name


class DeviceLostError(DeviceError):
    """The device stopped working; every call fails fast until ``Device.reset()``."""


class OutOfMemoryError(GpucoreError, MemoryError):
    """Memory ran out, of the device or of the context's limit.  The context stays usable.

    Attributes
    ----------
    requested, used, cached : int
        Bytes.
    limit : int | None
        Bytes, or None where the context has none.
    """

    def __init__(
        self,
        message: str = "",
        *,
        requested: int = 0,
        used: int = 0,
        cached: int = 0,
        limit: int | None = None,
    ) -> None:
        super().__init__(message)
        self.requested = requested
        self.used = used
        self.cached = cached
        self.limit = limit


class NotSupportedError(GpucoreError):
    """The device or backend lacks what was asked for.

    Attributes
    ----------
    capability : str | None
        The name of what is missing, as ``Capabilities`` spells it.
    """

    def __init__(self, message: str = "", *, capability: str | None = None) -> None:
        super().__init__(message)
        self.capability = capability


class KernelSyntaxError(GpucoreError, SyntaxError):
    """A kernel uses something outside the kernel language; the message has the line, the rule and the cure."""

    def __init__(
        self,
        message: str = "",
        *,
        filename: str | None = None,
        lineno: int | None = None,
        offset: int | None = None,
        text: str | None = None,
        end_offset: int | None = None,
        rule: str | None = None,
    ) -> None:
        super().__init__(message)
        self.filename = self._filename = filename
        self.lineno = self._lineno = lineno
        self.offset = self._offset = offset
        self.text = self._text = text
        # a traceback shows file, line and caret of a SyntaxError itself, and then this
        self.msg = self._msg = message if rule is None else rule
        self.end_lineno = self._end_lineno = lineno if end_offset is not None else None
        self.end_offset = self._end_offset = end_offset

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class KernelNotSupportedError(KernelSyntaxError, NotSupportedError):
    """A kernel uses what has its place in the language and is not built yet."""

    capability: str | None = None


class KernelTypeError(GpucoreError, TypeError):
    """Types in a kernel do not fit; the message shows the line, the rule and the cure."""

    def __init__(
        self,
        message: str = "",
        *,
        filename: str | None = None,
        lineno: int | None = None,
        offset: int | None = None,
        text: str | None = None,
        end_offset: int | None = None,
        rule: str | None = None,
    ) -> None:
        super().__init__(message)
        self.filename = filename
        self.lineno = lineno
        self.offset = offset
        self.text = text


class KernelRuntimeError(GpucoreError):
    """The base of what a checked kernel or the interpreter finds while a kernel runs.

    It is raised itself, in checked mode or not, where a device ended a loop before its time (``loop_limit``).

    Attributes
    ----------
    kernel : str | None
        The kernel's name.
    filename : str | None
    lineno : int | None
        Where in the Python source.
    array : str | None
        The array's name in the kernel.
    index, shape : tuple[int, ...] | None
        The offending index and the array's shape.
    thread : tuple[int, ...] | None
        The global id of the thread, in array order.
    """

    def __init__(
        self,
        message: str = "",
        *,
        kernel: str | None = None,
        filename: str | None = None,
        lineno: int | None = None,
        array: str | None = None,
        index: tuple[int, ...] | None = None,
        shape: tuple[int, ...] | None = None,
        thread: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(message)
        if filename is not None and lineno is not None:
            line = linecache.getline(filename, lineno).strip()
            if line:
                self.add_note(f"    {line}")
        self.kernel = kernel
        self.filename = filename
        self.lineno = lineno
        self.array = array
        self.index = index
        self.shape = shape
        self.thread = thread


class KernelBoundsError(KernelRuntimeError, IndexError):
    """An index out of bounds."""


class KernelAssertionError(KernelRuntimeError, AssertionError):
    """An ``assert`` in a kernel did not hold."""


class KernelDivisionError(KernelRuntimeError, ZeroDivisionError):
    """An integer division or remainder by zero in a checked kernel."""


class DataRaceError(KernelRuntimeError):
    """Two threads touched one element without order, at least one of them writing (found by the interpreter).

    Attributes
    ----------
    other_thread : tuple[int, ...] | None
        The thread that came first; ``thread`` is the one at whose access the race was found.
    other_lineno : int | None
        Its line.
    """

    def __init__(
        self,
        message: str = "",
        *,
        other_thread: tuple[int, ...] | None = None,
        other_lineno: int | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.other_thread = other_thread
        self.other_lineno = other_lineno


class RaceWarning(RuntimeWarning):
    """A kernel in which several threads may store to one element, as far as that can be read off its source."""


class WrapWarning(RuntimeWarning):
    """An accumulator that begins as an int literal, grows in a loop, and may wrap before it is converted to a wider type."""


class BarrierDivergenceError(KernelRuntimeError):
    """Not every thread of a block reached the same barrier (found by the interpreter)."""


class CompileError(GpucoreError):
    """A compiler refused what it was given.

    Attributes
    ----------
    source : str
        The text given to the compiler.
    log : str
        What the compiler said.
    """

    def __init__(self, message: str = "", *, source: str = "", log: str = "") -> None:
        super().__init__(message)
        self.source = source
        self.log = log


class VerificationError(GpucoreError):
    """A module breaks a rule of the IR: a mistake of a pass or of the front end, not of a kernel's author.

    Attributes
    ----------
    function : str
        The function's name.
    statement : str | None
        As text, or None where the rule is about a declaration.
    rule : str
    """

    def __init__(self, rule: str = "", *, function: str = "", statement: str | None = None) -> None:
        where = f"@{function}: " if function else ""
        what = f"`{statement}`: " if statement else ""
        super().__init__(f"{where}{what}{rule}")
        self.function = function
        self.statement = statement
        self.rule = rule


class LaunchError(GpucoreError, ValueError):
    """A launch was asked for with arguments that do not fit the kernel or the device."""


# --- errors of the user's -------------------------------------------------------------------------
USER_ERRORS = (KernelSyntaxError, KernelTypeError, LaunchError)
"""Errors that a line of the user's causes: frames of the core below that line would only hide it."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def without_internals(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Raise errors from here, without gpucore's own frames below."""

    @functools.wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(*args, **kwargs)
        except USER_ERRORS as error:
            raise error.with_traceback(None) from None
        except KernelRuntimeError as error:
            # of the interpreter: the lines of the kernel stay, and are the last, where debuggers start
            from gpucore._messages import frames_of_the_user

            raise error.with_traceback(frames_of_the_user(error.__traceback__)) from error.__cause__

    return call
