"""A specification of a C or C++ library in; a native bridge, low-level bindings and a typed Python package out."""

from gpucore_wrap.check import load_spec
from gpucore_wrap.errors import OutputError, Position, Problem, SpecError, VerifyError, WrapError
from gpucore_wrap.generate import Tree, generate

__all__ = [
    "OutputError",
    "Position",
    "Problem",
    "SpecError",
    "Tree",
    "VerifyError",
    "WrapError",
    "generate",
    "load_spec",
]
