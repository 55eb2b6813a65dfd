"""How errors look in IPython, Jupyter and pytest: the user's frames alone, and cells by their numbers."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from typing import Any

__all__ = ["frames_of_the_user", "frames_to_the_user", "rendered", "shown_file"]

_OURS = ("gpucore", "gpucore_", "IPython", "ipykernel", "pluggy")


def _shell() -> Any:
    """IPython's shell, where there is one."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def shown_file(filename: str) -> str:
    """A file's name as a user knows it: a cell of a notebook is ``Cell In[3]``, not a file in a temporary folder."""
    shell = _shell()
    compiler = getattr(shell, "compile", None)
    named = getattr(compiler, "format_code_name", lambda _: None)(filename)
    return filename if named is None else " ".join(named)


def _is_ours(frame: types.FrameType) -> bool:
    """Whether a frame is of gpucore, a plugin, generated code or IPython."""
    root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return root in _OURS or root.startswith("gpucore_") or frame.f_code.co_filename.startswith("<gpucore")


def frames_to_the_user() -> int:
    """The ``stacklevel`` of a warning by which it names the line of the user."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        level, frame = level + 1, frame.f_back
    return level


def frames_of_the_user(
    trace: types.TracebackType | None, also: Callable[[types.FrameType], bool] = lambda frame: False
) -> types.TracebackType | None:
    """A traceback without the frames of gpucore, its plugins and IPython, but with those that ``also`` takes."""
    kept = []
    while trace is not None:
        if not _is_ours(trace.tb_frame) or also(trace.tb_frame):
            kept.append(trace)
        trace = trace.tb_next
    following: types.TracebackType | None = None
    for one in reversed(kept):
        following = types.TracebackType(following, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return following


def rendered(error: BaseException) -> list[str]:
    """The lines that IPython shows for an error; ``%xmode Verbose`` shows every frame."""
    shell = _shell()
    formatter = shell.InteractiveTB
    trace = error.__traceback__
    if formatter.mode != "Verbose":
        trace = frames_of_the_user(trace)
    if isinstance(error, SyntaxError):
        import traceback

        return list(shell.SyntaxTB.structured_traceback(type(error), error, traceback.extract_tb(trace)))
    shown = formatter.structured_traceback(type(error), error, trace, tb_offset=0)
    # the interpreter's own parameters of a kernel
    return [re.sub(r"(, |(?<=\())_gc_\w+", "", part) for part in shown]


def show_syntax_errors(kind: type[SyntaxError]) -> None:
    """Let the shell show this kind of SyntaxError as other errors, unless the user has a handler."""
    shell = _shell()
    if shell is None or shell.custom_exceptions:
        return

    def show(
        shell: Any, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: Any = None
    ) -> None:
        shell._showtraceback(kind, error, rendered(error))

    shell.set_custom_exc((kind,), show)
