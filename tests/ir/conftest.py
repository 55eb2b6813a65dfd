"""Short ways to write modules by hand and to run them on the interpreter."""

import numpy as np
import pytest

from gpucore.ir.interpreter import interpret


@pytest.fixture
def compute(build):
    """The result of one operation on scalars of given dtypes, as the bits it leaves in memory."""
    cache = {}

    def run(op, dtypes, result, *values):
        key = (op, dtypes, result)
        if key not in cache:
            loads = "\n".join(f"  %v{i}: {d} = load &in{i}[%zero]" for i, d in enumerate(dtypes))
            params = ", ".join(f"&in{i}: {d}[?]" for i, d in enumerate(dtypes))
            args = ", ".join(f"%v{i}" for i in range(len(dtypes)))
            cache[key] = build(
                f"kernel @k({params}, &out: {result}[?]) {{\n  %zero: index = const 0\n{loads}\n"
                f"  %r: {result} = {op} {args}\n  store &out[%zero], %r\n}}\n"
            )
        module = cache[key]
        arrays = [np.array([v], p.dtype.numpy) for v, p in zip(values, module.arrays)]
        out = np.zeros(1, module.arrays[-1].dtype.numpy)
        interpret(module, 1, 1, (*arrays, out), detect_races=False)
        return out[0]

    return run
