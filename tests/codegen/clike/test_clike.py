"""The renderer for C-like languages with a dialect other than CUDA's: random kernels as C, run by the host's compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpucore.ir import Barrier, Function, Module, Return, Subgroup, Value, f32, f64, i8, walk
from gpucore.ir import Op as Operation
from gpucore.ir.clike import Dialect, Rendered, render_unit
from gpucore.ir.passes.lower import LowerOptions, lower
from gpucore.math import library
from gpucore_fuzz import cases as fuzz

sys.path.insert(0, str(Path(__file__).parent))
from plain_c import ATOMICS, NATIVE, PlainC

COMPILER = shutil.which("gcc") or shutil.which("clang")


def render(module: Module) -> Rendered:
    options = LowerOptions(native=NATIVE, library=library, atomics=ATOMICS)
    dialect: Dialect = PlainC()
    return render_unit(dialect, lower(module, options).module)


def launcher(rendered: Rendered) -> str:
    """A function that runs every thread of a launch, one after the other."""
    given: list[str] = []
    for layout in rendered.params:
        types = [layout[1]] if layout[0] == "scalar" else [None, *(d for _, d in layout[2])]
        for t in types:
            given.append(f"args[{len(given)}]" if t is None else f"*({t}*)args[{len(given)}]")
    loops = "".join(
        f"for (gc_{kind}_id[{a}] = 0; gc_{kind}_id[{a}] < gc_{size}_dim[{a}]; ++gc_{kind}_id[{a}]) "
        for kind, size in (("block", "grid"), ("thread", "block"))
        for a in (2, 1, 0)
    )
    return (
        "void run(const u32* shape, void** args) {\n"
        "  for (int a = 0; a < 3; ++a) { gc_grid_dim[a] = shape[a]; gc_block_dim[a] = shape[3 + a]; }\n"
        f"  {loops}{rendered.entry}({', '.join(given)});\n}}\n"
    )


def numpy_name(dtype: str) -> str:
    return dtype if dtype == "bool" else f"{dtype[0]}{int(dtype[1:]) // 8}"


def execute(rendered: Rendered, case: fuzz.Case, folder: Path) -> list:
    source, binary = folder / "kernel.c", folder / "kernel.so"
    source.write_text(rendered.source + launcher(rendered))
    # no -fwrapv: what could overflow is computed unsigned
    flags = ("-std=c11", "-O2", "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-shared", "-fPIC")
    built = subprocess.run(
        [str(COMPILER), *flags, str(source), "-o", str(binary)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr[-2000:] + rendered.source
    found = case.arguments()
    held: list[np.ndarray] = []
    for layout, argument in zip(rendered.params, found, strict=True):
        if layout[0] == "scalar":
            held.append(np.array(argument).astype(numpy_name(layout[1])))
        else:
            held += [
                argument,
                *(np.array(argument.shape[axis], numpy_name(d)) for axis, d in layout[2]),
            ]
    shape = [
        *([1] * (3 - len(case.grid)) + [*case.grid])[::-1],
        *([1] * (3 - len(case.block)) + [*case.block])[::-1],
    ]
    pointers = (ctypes.c_void_p * len(held))(*(h.ctypes.data for h in held))
    ctypes.CDLL(str(binary)).run((ctypes.c_uint32 * 6)(*shape), pointers)
    return found


@pytest.mark.skipif(COMPILER is None, reason="no C compiler is installed")
@pytest.mark.parametrize("seed", range(8))
def test_random_kernels_mean_the_same_in_c(seed, tmp_path):
    case = fuzz.generate(900 + seed)
    while any(isinstance(s, (Barrier, Subgroup)) for s in walk(case.module.kernel.body)):
        case = fuzz.generate(case.seed + 100)
    mismatch = fuzz.compare(case, fuzz.expected(case), execute(render(case.module), case, tmp_path))
    assert mismatch is None, str(mismatch)


def function_of(op: str, source, result) -> Module:
    a, r = Value("a", source), Value("r", result)
    inner = Function("convert", (a,), result, (), (), (Operation(r, op, (a,)), Return(r)))
    return Module(Function("empty", (), None, (), (), ()), (inner,))


@pytest.mark.parametrize("source", [f32, f64], ids=str)
def test_what_c_leaves_undefined_is_asked_of_the_dialect(source):
    """A float out of range has no value as an integer in C, so that no dialect gets such a cast by forgetting it."""
    with pytest.raises(KeyError, match="cast"):
        render_unit(PlainC(), function_of("cast", source, i8))
