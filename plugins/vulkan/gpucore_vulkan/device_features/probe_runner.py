"""Runs probes: one kernel for a group of cases, its results beside what is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpucore.errors import CompileError, DeviceLostError
from gpucore.hookspecs import CompileOptions, LaunchConfig, Target
from gpucore.ir import (
    Const,
    DType,
    Extent,
    Function,
    If,
    Load,
    Memory,
    Module,
    Op,
    Stmt,
    Store,
    ThreadIndex,
    Value,
    bool_,
    i32,
    u32,
)  # fmt: skip
from gpucore.ir.ops import op_key
from gpucore_vulkan.compiler import compile_module
from gpucore_vulkan.device_features.probe_operations import COUNT, Bits, Case
from gpucore_vulkan.executables import Executable
from gpucore_vulkan.launching import prepare_launch
from gpucore_vulkan.transfers import copy

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device

__all__ = ["BLOCK", "ProbeRunner", "case_key", "input_names", "same_bits"]

BLOCK: Final = 64


def _module(name: str, inputs: dict[str, tuple[DType, Bits]], cases: list[Case]) -> Module:
    """A kernel that loads the inputs at its thread's place and stores every case's result."""
    arrays = {key: Memory(key, kind, "global") for key, (kind, _) in inputs.items()}
    outputs = [
        Memory(f"out{n}", u32 if c.result is bool_ else c.result, "global") for n, c in enumerate(cases)
    ]
    i, n, inside = Value("i", i32), Value("n", i32), Value("inside", bool_)
    body: list[Stmt] = []
    values: dict[str, Value] = {}
    for key, memory in arrays.items():
        values[key] = Value(f"v.{key}", memory.dtype)
        body.append(Load(values[key], memory, (i,)))
    for number, case in enumerate(cases):
        named = dict(values)

        def computed(result: Value, op: str, args: tuple[str | float, ...], named: dict[str, Value]) -> None:
            kind = _operand_kind(args, result.dtype, named)
            given: list[Value] = []
            for place, argument in enumerate(args):
                if isinstance(argument, str):
                    given.append(named[argument])
                    continue
                given.append(Value(f"{result.name}.{place}", kind))
                body.append(Const(given[-1], int(argument) if kind.is_integer else argument))
            body.append(Op(result, op, tuple(given)))

        for step in case.before:
            value = Value(f"t{number}.{step.name}", step.result)
            computed(value, step.op, step.args, named)
            named[step.name] = value
        result = Value(f"r{number}", case.result)
        computed(result, case.op, case.args, named)
        if case.result is bool_:
            word = Value(f"w{number}", u32)
            body.append(Op(word, "cast", (result,)))
            result = word
        body.append(Store(outputs[number], (i,), result))
    kernel = Function(
        name,
        (*arrays.values(), *outputs),
        None,
        (),
        (),
        (
            ThreadIndex(i, "global_id", 0),
            Extent(n, next(iter(arrays.values())), 0),
            Op(inside, "lt", (i, n)),
            If(inside, tuple(body)),
        ),
    )
    return Module(kernel)


def input_names(case: Case, inputs: dict[str, tuple[DType, Bits]]) -> list[str]:
    """The inputs that a case reads."""
    used = [*case.args, *(a for step in case.before for a in step.args)]
    return [a for a in used if isinstance(a, str) and a in inputs]


def _operand_kind(args: tuple[str | float, ...], result: DType, named: dict[str, Value]) -> DType:
    """The dtype of an operation's constants: that of its other operands, conditions aside."""
    kinds = [named[a].dtype for a in args if isinstance(a, str) and named[a].dtype is not bool_]
    return kinds[0] if kinds else result


def case_key(case: Case, inputs: dict[str, tuple[DType, Bits]]) -> str:
    if case.key:
        return case.key
    kind = next(inputs[a][0] for a in case.args if isinstance(a, str))
    return op_key(case.op, (kind,), case.result)


def same_bits(found: Bits, expected: Bits) -> Bits:
    """Where the bits are alike, any NaN like any other."""
    if expected.dtype.kind != "f":
        return np.asarray(found == expected)
    word = f"u{expected.dtype.itemsize}"
    return np.asarray(np.where(np.isnan(expected), np.isnan(found), found.view(word) == expected.view(word)))


def _denormal(values: Bits) -> Bits:
    """Where numbers are denormal, or the least that is not, to which some denormals are rounded."""
    if values.dtype.kind != "f":
        return np.zeros(values.shape, bool)
    return np.asarray((values != 0) & (np.abs(values) <= np.finfo(values.dtype).tiny))


class ProbeRunner:
    """Runs probe kernels on one device."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def arrays(self, target: Target, module: Module, arrays: list[Bits], grid: int, block: int) -> list[Bits]:
        """Run a kernel whose parameters are these arrays; what they hold afterwards."""
        device = self.device
        stream = device.create_stream()
        executable = Executable(device.pipelines, compile_module(target, module, CompileOptions()))
        pieces = [device.memory.alloc(array.nbytes, "device") for array in arrays]
        try:
            slots: list[Any] = []
            for piece, array in zip(pieces, arrays, strict=True):
                copy(device, piece, 0, array.data.cast("B"), 0, array.nbytes, stream)
                slots += [piece, 0, array.size]
            prepare_launch(executable, LaunchConfig((grid,), (block,)))(stream, *slots)
            found = [np.empty_like(array) for array in arrays]
            for piece, array in zip(pieces, found, strict=True):
                copy(device, array.data.cast("B"), 0, piece, 0, array.nbytes, stream)
            return found
        finally:
            if device.lost is None:
                stream.synchronize()
                for piece in pieces:
                    device.memory.free(piece)
                executable.close()
                device.destroy_stream(stream)

    def run_cases(
        self, target: Target, name: str, inputs: dict[str, tuple[DType, Bits]], cases: list[Case]
    ) -> tuple[list[Bits], list[Bits]]:
        """What the cases gave and what they should have given."""
        module = _module(name, inputs, cases)
        given = [np.ascontiguousarray(values) for _, values in inputs.values()]
        wanted: list[Bits] = [
            c.expected.astype(np.uint32) if c.result is bool_ else c.expected for c in cases
        ]
        arrays: list[Bits] = [*given, *(np.zeros_like(w) for w in wanted)]
        found = self.arrays(target, module, arrays, -(-COUNT // BLOCK), BLOCK)[len(given) :]
        return found, wanted

    def cases(
        self, target: Target, name: str, inputs: dict[str, tuple[DType, Bits]], cases: list[Case]
    ) -> tuple[set[str], bool]:
        """The keys of the cases whose every bit is right, and whether denormals alone made another one
        wrong."""
        try:
            found, wanted = self.run_cases(target, name, inputs, cases)
        except DeviceLostError:
            raise
        except CompileError:
            return set(), False
        right: dict[str, bool] = {}
        flushed = False
        for case, result, expected in zip(cases, found, wanted, strict=True):
            key = case_key(case, inputs)
            wrong = ~same_bits(result, expected)
            right[key] = right.get(key, True) and not wrong.any()
            if wrong.any():
                small = _denormal(expected)
                for name in input_names(case, inputs):
                    small |= _denormal(inputs[name][1])
                flushed |= bool(small[wrong].all())
        return {key for key, good in right.items() if good}, flushed
