"""Suggestions for names that were mistyped, names of other libraries, and names that are not there yet."""

from __future__ import annotations

from collections.abc import Iterable

LATER = frozenset(("graph", "algorithms"))
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
    "ones": "Context.ones", "empty": "Context.empty", "array": "Context.array",
}  # fmt: skip
"""What other libraries call it, and what it is here."""


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


def later(name: str) -> str:
    """What is said of a public name that is not built yet."""
    return f"gpucore.{name} is planned for the next release"
