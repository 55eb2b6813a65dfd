"""The portable math library: kernel-language source, compiled to IR functions when a kernel first needs them.

Every backend runs the same functions, so that a kernel gives the same bits on each.  The functions on f32 use f32 and
32-bit integers only, and a fused multiply-add only for what is left of a product near the addend, which products of halves
give as well; those on f64 use f64 and 64-bit integers.  Both come from one text, see :mod:`gpucore.math.formats`.  All stay
within 2 ulp (measured: ``gpucore_fuzz.ulp``).  f16 and bf16 go through f32: see
``gpucore.ir.passes.lower``.

Routines for what a target lacks (keys beginning with ``soft.``) come from :mod:`gpucore.math.soft_arithmetic`.
"""

from __future__ import annotations

import hashlib
import importlib
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpucore.ir.dtypes import DType, dtype, i32
from gpucore.ir.ops import LIBRARY, MATH, MATH_BINARY

if TYPE_CHECKING:
    from gpucore.ir.nodes import Function

__all__ = ["VERSION", "keys", "library"]

_MODULES: dict[str, str] = {
    **dict.fromkeys(("exp", "exp2", "sinh", "cosh", "tanh"), "exponential"),
    **dict.fromkeys(("log", "log2", "log10"), "logarithm"),
    **dict.fromkeys(("sin", "cos", "tan"), "trigonometric"),
    **dict.fromkeys(("asin", "acos", "atan", "atan2"), "trigonometric.inverse"),
    **dict.fromkeys(("pow", "rsqrt", "cbrt", "hypot"), "power"),
    **dict.fromkeys(("exp10", "expm1"), "exponential.more"),
    **dict.fromkeys(("log1p", "asinh", "acosh", "atanh"), "logarithm.more"),
    **dict.fromkeys(("erf", "erfc", "tgamma", "lgamma"), "special_functions"),
    **dict.fromkeys(
        ("fmod", "remainder", "nextafter", "ldexp", "frexp_fraction", "frexp_exponent"), "soft_bits"
    ),
}
_DTYPES = ("f32", "f64")

VERSION: str
"""A hash of the sources."""

_lock = threading.RLock()
_built: dict[str, tuple[Function, ...]] = {}


def keys() -> tuple[str, ...]:
    """The keys of the math functions: ``"exp.f32"`` and the like, sorted."""
    return tuple(sorted(f"{name}.{kind}" for name in (*MATH, *LIBRARY) for kind in _DTYPES))


def library(key: str) -> tuple[Function, ...]:
    """The IR of a routine: callees first, the last function implements ``key``.

    Parameters
    ----------
    key : str
        An operation and its dtype, ``"exp.f32"``, or a routine of the passes, ``"soft.fma.f32"``.

    Raises
    ------
    KeyError
        When the library has no such routine.
    """
    found = _built.get(key)
    if found is not None:
        return found
    function, arguments = _routine(key)
    from gpucore.lang import build_function

    with _lock:
        if key not in _built:
            _built[key] = _qualified(key, build_function(function, arguments, key))
        return _built[key]


def _qualified(key: str, functions: tuple[Function, ...]) -> tuple[Function, ...]:
    """The functions with the key in every name: helpers of two routines may differ in a constant alone."""
    from gpucore.ir.passes.lower import renamed

    names = {f.name: f"{key}.{f.name.removeprefix('gpucore.math.')}" for f in functions[:-1]}
    return tuple(renamed(f, names, key) for f in functions)


def _routine(key: str) -> tuple[Callable[..., Any], tuple[DType, ...]]:
    if key.startswith("soft."):
        routine: tuple[Callable[..., Any], tuple[DType, ...]] = importlib.import_module(
            "gpucore.math.soft_arithmetic"
        ).routine(key)
        return routine
    name, _, kind = key.partition(".")
    if name not in _MODULES or kind not in _DTYPES:
        raise KeyError(key)
    from gpucore.math.formats import FORMATS

    module, _, family = _MODULES[name].partition(".")
    functions = getattr(importlib.import_module(f"gpucore.math.{module}"), family or "functions")
    operands = LIBRARY[name].operands if name in LIBRARY else ("float",) * (2 if name in MATH_BINARY else 1)
    return getattr(functions(FORMATS[kind]), name), tuple(
        dtype(kind) if o == "float" else i32 for o in operands
    )


@cache
def _version() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def __dir__() -> list[str]:
    return sorted({*__all__, "random"})


def __getattr__(name: str) -> Any:
    # the sources are read when something asks for the version, not when the package is imported
    if name == "VERSION":
        return _version()
    if name == "random":
        return importlib.import_module("gpucore.math.random")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
