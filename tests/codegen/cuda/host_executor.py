"""Runs rendered CUDA C++ on the host: the same text through g++ or clang++, with ``host_shim.h`` in CUDA's place.

An executor of what the renderer wrote that shares nothing with the interpreter.  With UBSan it also says where the
text counts on what C++ leaves undefined, which NVRTC may take for impossible.  As a script:

    python host_executor.py --programs 500 --seed 0 --compiler g++ [--sanitize]
"""

from __future__ import annotations

import argparse
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpucore.hookspecs import CompileOptions
from gpucore.ir import Subgroup, walk
from gpucore.ir.passes.lower import LowerOptions, lower
from gpucore.math import library
from gpucore_cuda.renderer import Rendered, render_module
from gpucore_cuda.targets import make_target
from gpucore_fuzz import cases as fuzz

SHIM = Path(__file__).parent / "host_shim.h"
TARGET = make_target("sm_80")
OPTIMISED = ("-O3",)
SANITIZED = ("-O1", "-fsanitize=undefined,float-cast-overflow", "-fno-sanitize-recover=all")
_PTX_HELPER = re.compile(
    r"static __device__ __forceinline__ [^\n]*\n(?: [^\n]*\n)*? [^\n]*\basm\([^\n]*\n(?: [^\n]*\n)*\}"
)
_COMMON = ("-std=c++17", "-ffp-contract=off", "-fno-strict-aliasing", "-w")


class HostError(Exception):
    """The compiler or the program failed; the text says how."""


class Program:
    """One random case, lowered as for CUDA, and its text."""

    def __init__(self, case: fuzz.Case, *, guarded: bool) -> None:
        self.case = case
        block = case.block if case.seed % 2 else None
        options = LowerOptions(
            native=TARGET.native,
            library=library,
            atomics=TARGET.atomics,
            small=case.seed % 3 > 0,
            block=block,
        )
        self.module = lower(case.module, options).module
        self.rendered: Rendered = render_module(
            TARGET, self.module, CompileOptions(block=block), guarded=guarded
        )

    @property
    def text(self) -> str:
        """The source without the helpers that the shim gives, as part of a namespace."""
        return _PTX_HELPER.sub("", self.rendered.source).replace('extern "C" ', "")

    def input(self) -> bytes:
        """The launch as ``run`` of the shim reads it."""
        axes = [[*(1,) * (3 - len(shape)), *shape][::-1] for shape in (self.case.grid, self.case.block)]
        values: list[tuple[bytes, int]] = []
        for layout, argument in zip(self.rendered.params, self.case.args, strict=True):
            if layout[0] == "scalar":
                values.append((np.array(argument).astype(_numpy(layout[1])).tobytes(), 0))
                continue
            values.append((argument.tobytes(), 1))
            values += [(np.array(argument.shape[axis], _numpy(d)).tobytes(), 0) for axis, d in layout[2]]
        packed = [struct.pack("<7Q", *axes[0], *axes[1], len(values))]
        return b"".join(packed + [struct.pack("<QQ", len(data), array) + data for data, array in values])

    def output(self, data: bytes) -> tuple[list, bytes]:
        """The arguments after the run, and what follows in the output."""
        found = self.case.arguments()
        for argument in found:
            if isinstance(argument, np.ndarray):
                argument[...] = np.frombuffer(data[: argument.nbytes], argument.dtype).reshape(argument.shape)
                data = data[argument.nbytes :]
        return found, data


def _numpy(dtype: str) -> str:
    return "bool" if dtype == "bool" else {"i": "int", "u": "uint", "f": "float"}[dtype[0]] + dtype[1:]


def runs_here(case: fuzz.Case) -> bool:
    """Whether the shim has what the case needs: no subgroups, no arrays that share memory."""
    arrays = [a for a in case.args if isinstance(a, np.ndarray)]
    overlap = any(np.shares_memory(a, b) for n, a in enumerate(arrays) for b in arrays[:n])
    return not overlap and not any(isinstance(s, Subgroup) for s in walk(case.module.kernel.body))


def compare(programs: Sequence[Program], compiler: str, flags: Sequence[str]) -> list[fuzz.Mismatch]:
    """Compile the programs as one, run them, and compare with the interpreter.

    Raises
    ------
    HostError
        With the compiler's or the sanitizer's words.
    """
    parts = [f'#include "{SHIM}"\n']
    parts += [f"namespace p{n} {{\n{p.text}\n}}\n" for n, p in enumerate(programs)]
    runs = "\n".join(
        f'  fprintf(stderr, "program {n}\\n"); run(p{n}::{p.rendered.entry});' for n, p in enumerate(programs)
    )
    parts.append(f'#line 1 "main"\nint main() {{\n{runs}\n  return 0;\n}}\n')
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder) / "programs.cpp", Path(folder) / "programs"
        source.write_text("".join(parts))
        built = subprocess.run(
            [compiler, *_COMMON, *flags, str(source), "-o", str(binary), "-lm"],
            capture_output=True,
            text=True,
        )
        if built.returncode:
            raise HostError(built.stderr[-4000:])
        ran = subprocess.run(
            [binary], input=b"".join(p.input() for p in programs), capture_output=True, timeout=300
        )
    if ran.returncode:
        number = int(re.findall(rb"program (\d+)", ran.stderr)[-1])
        said = ran.stderr.decode(errors="replace")[-1500:]
        raise HostError(
            f"seed {programs[number].case.seed}: status {ran.returncode}\n{said}\n{programs[number].text}"
        )
    found: list[fuzz.Mismatch] = []
    data = ran.stdout
    for program in programs:
        arguments, data = program.output(data)
        mismatch = fuzz.compare(program.case, fuzz.expected(program.case), arguments)
        if mismatch is not None:
            found.append(mismatch)
    return found


def random_programs(seed: int, count: int) -> list[Program]:
    """So many programs from consecutive seeds, every other one guarded."""
    made: list[Program] = []
    while len(made) < count:
        case = fuzz.generate(seed)
        seed += 1
        if runs_here(case):
            made.append(Program(case, guarded=bool(seed // 2 % 2)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--sanitize", action="store_true")
    asked = parser.parse_args()
    assert shutil.which(asked.compiler)
    wrong = done = 0
    seed = asked.seed
    while done < asked.programs:
        programs = random_programs(seed, min(50, asked.programs - done))
        seed = programs[-1].case.seed + 1
        for mismatch in compare(programs, asked.compiler, SANITIZED if asked.sanitize else OPTIMISED):
            wrong += 1
            print(mismatch)
        done += len(programs)
        print(f"{done} programs, {wrong} wrong, next seed {seed}", flush=True)


if __name__ == "__main__":
    main()
