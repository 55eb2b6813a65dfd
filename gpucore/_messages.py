"""What errors say of names that were mistyped, and how they look in IPython, Jupyter and pytest."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

LATER = frozenset(("algorithms",))
"""Public names that have their place and are not built yet."""

_ELSEWHERE = {
    "bool": "bool_", "bfloat16": "bf16", "half": "f16", "float": "f32", "double": "f64", "int": "i32",
    **{f"float{bits}": f"f{bits}" for bits in (16, 32, 64)},
    **{f"{long}{bits}": f"{short}{bits}" for long, short in (("int", "i"), ("uint", "u"))
       for bits in (8, 16, 32, 64)},
    "syncthreads": "barrier", "program_id": "block_id", "group_id": "block_id", "local_id": "thread_id", "tid": "global_id",
    "grid": "global_ids", "threadIdx": "thread_id", "blockIdx": "block_id", "blockDim": "block_dim", "gridDim": "grid_dim",
    "local_size": "block_dim", "num_programs": "grid_dim", "where": "select",
    "jit": "kernel", "arange": "Context.arange", "zeros": "Context.zeros",
    "ones": "Context.ones", "empty": "Context.empty", "array": "Context.array", "asarray": "Context.array",
    "full": "Context.full", "to_device": "Context.array", "synchronize": "Context.synchronize",
    "prange": "global_id", "stream": "Context.stream", "graph": "Context.graph", "tensor": "Context.array",
}  # fmt: skip
"""What other libraries call it, and what it is here."""

_IN_ARRAYS = {
    "astype": "convert in a kernel, or with .numpy().astype(...)",
    **dict.fromkeys(("copy", "clone"), "write context.array(array)"),
    "cpu": "write .numpy()",
    "data": "the memory is the device's; write .numpy()",
    "device": "write .context.device",
    "copy_to_host": "write .numpy()",
    "copy_to_device": "write .copy_from(ndarray)",
    "flat": "write .reshape(-1)",
    "flatten": "write .reshape(-1)",
    "get": "write .numpy()",
    "item": "write .numpy().item()",
    "ravel": "write .reshape(-1)",
    "set": "write .copy_from(ndarray)",
    "squeeze": "write .reshape(...), or index the axes of one element with 0",
    **dict.fromkeys(
        "sum mean min max prod std var argmax argmin any all dot cumsum sort".split(),  # noqa: SIM905
        "an Array only holds numbers: compute in a kernel, or on the host with .numpy()",
    ),
    "tolist": "write .numpy().tolist()",
    **dict.fromkeys(("transpose", "swapaxes", "t"), "write .T"),
    "view": "slices and .reshape(...) are views; the bits are read with gc.bitcast in a kernel, or with .numpy().view(...)",
}
"""What arrays of other libraries have, and how it is said here."""

_IN_CONTEXTS = {
    **dict.fromkeys(("asarray", "ascontiguousarray", "to_device", "from_numpy", "tensor"), "write .array(data)"),
    "linspace": "write .array(numpy.linspace(...))",
    "eye": "write .array(numpy.eye(...))",
    "random": "draw in a kernel with gpucore.random, or write .array(numpy.random.default_rng(0).random(n))",
    "to_host": "write array.numpy()", "copy_to_host": "write array.numpy()", "asnumpy": "write array.numpy()",
    "sync": "write .synchronize()", "device_array": "write .empty(shape, dtype)", "malloc": "write .empty(shape, dtype)",
    "launch": "launch a kernel on an array of the context: kernel.over(shape)(array)",
}  # fmt: skip
"""What contexts, devices and modules of other libraries have, and how it is said of a Context."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` when a known name is close, else nothing; case does not count."""
    import difflib  # only when something is wrong

    by_lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return f", did you mean {by_lower[close[0]]!r}?" if close else ""


def public_hint(name: str, known: Iterable[str]) -> str:
    """``"Did you mean 'f32'?"`` for a name that the public module has not, or nothing."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    meant = _ELSEWHERE.get(name) or (close[0] if close else "")
    return f"Did you mean {meant!r}?" if meant else ""


def absent_from_context(context: object, name: str) -> NoReturn:
    """The ``__getattr__`` of contexts: say what to write for a name of another library."""
    instead = _IN_CONTEXTS.get(name)
    if instead is None:  # Python looks for a close name itself
        raise AttributeError(f"'Context' object has no attribute {name!r}", name=name, obj=context)
    raise AttributeError(f"a Context has no attribute {name!r}; {instead}")


def absent_from_array(name: str) -> AttributeError:
    """What an array raises for an attribute that it has not."""
    hint = f"; {_IN_ARRAYS[name]}" if name in _IN_ARRAYS else ""
    return AttributeError(f"an Array has no attribute {name!r}{hint}")


def later(name: str) -> str:
    """What is said of a public name that is not built yet."""
    return f"gpucore.{name} is planned for the next release"


# --- frames and cells
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
