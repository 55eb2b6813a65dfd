"""Short ways to write modules by hand and to run them on the interpreter."""

import textwrap

import numpy as np
import pytest

from gpucore.ir.interpreter import interpret
from gpucore.ir.text import parse
from gpucore.ir.verify import verify


def module_of(text, *, ndim=1, extra="", math="strict", level="high", native=frozenset()):
    head = f"module ir=1 ndim={ndim} math={math}{extra}\n"
    module = parse(head + textwrap.dedent(text))
    verify(module, level=level, native=native)
    return module


@pytest.fixture
def build():
    """Text without the module line, as a verified module."""
    return module_of


@pytest.fixture
def compute():
    """The result of one operation on scalars of given dtypes, as the bits it leaves in memory."""
    cache = {}

    def run(op, dtypes, result, *values):
        key = (op, dtypes, result)
        if key not in cache:
            loads = "\n".join(f"  %v{i}: {d} = load &in{i}[%zero]" for i, d in enumerate(dtypes))
            params = ", ".join(f"&in{i}: {d}[?]" for i, d in enumerate(dtypes))
            args = ", ".join(f"%v{i}" for i in range(len(dtypes)))
            cache[key] = module_of(
                f"kernel @k({params}, &out: {result}[?]) {{\n  %zero: index = const 0\n{loads}\n"
                f"  %r: {result} = {op} {args}\n  store &out[%zero], %r\n}}\n"
            )
        module = cache[key]
        arrays = [np.array([v], p.dtype.numpy) for v, p in zip(values, module.arrays)]
        out = np.zeros(1, module.arrays[-1].dtype.numpy)
        interpret(module, 1, 1, (*arrays, out), detect_races=False)
        return out[0]

    return run
