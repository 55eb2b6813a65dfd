"""Native kernels: source or code in a language of the device, launched like any other kernel."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from gpucore.compile.pipeline import Param, Program, RangeKind, Variant
from gpucore.errors import LaunchError, NotSupportedError
from gpucore.hookspecs import CompileOptions, ObjectCode, Target
from gpucore.ir.dtypes import DType, as_dtype
from gpucore.ir.nodes import Memory, Value
from gpucore.launch.kernel import Kernel, Parameter
from gpucore.runtime import ProcessBound

if TYPE_CHECKING:
    from gpucore.ir.bounds.analysis import Bounds
    from gpucore.ir.passes.checks import Check
    from gpucore.lang.types import ArgumentType
    from gpucore.runtime.context import Context
    from gpucore.runtime.state import ContextState

__all__ = ["Module"]


class Module(ProcessBound):
    """Native kernels by name; made by ``Context.module``."""

    def __init__(
        self, context: Context, source: str | bytes, language: str, signatures: dict[str, Sequence[Any]]
    ) -> None:
        state = context._state
        device = context.device
        if not isinstance(language, str):
            raise TypeError(f"language is the name of one, such as 'spirv', not {language!r}")
        if not isinstance(signatures, dict) or not all(
            isinstance(s, (tuple, list)) for s in signatures.values()
        ):
            raise TypeError(
                "signatures gives each kernel its parameters, as in {'scale': [gpucore.Array[gpucore.f32], gpucore.f32]}, "
                f"not {signatures!r}"
            )
        capability = "source_" + language.replace("-", "_").replace("+", "p")
        if capability not in device.capabilities or not state.hooks.has("compile_source"):
            raise NotSupportedError(
                f"{device.backend}:{device.ordinal} ({device.name}) does not take native code in "
                f"{language!r}",
                capability=capability,
            )
        parameters = {name: _parameters(name, signature) for name, signature in signatures.items()}
        codes = state.call(
            state.hooks.compile_source,
            device._target,
            source,
            language,
            {name: tuple(_node(p) for p in params) for name, params in parameters.items()},
            CompileOptions(),
        )
        self._kernels = {
            name: Kernel(NativeSource(params, name, codes[name]), name) for name, params in parameters.items()
        }

    def __getitem__(self, name: str) -> Kernel:
        """The kernel of that name in the signatures."""
        try:
            return self._kernels[name]
        except KeyError:
            from gpucore._messages import did_you_mean

            raise LaunchError(
                f"the module has no kernel {name!r}{did_you_mean(name, self._kernels)}"
            ) from None

    def __repr__(self) -> str:
        return f"<Module {', '.join(self._kernels)}>"


def _parameters(kernel: str, signature: Sequence[Any]) -> tuple[Parameter, ...]:
    parameters = []
    for number, annotation in enumerate(signature):
        name = f"argument{number}"
        if isinstance(annotation, types.GenericAlias) and getattr(
            annotation.__origin__, "__gpucore_array__", False
        ):
            dtype, *rank = annotation.__args__
            parameters.append(Parameter(name, "array", as_dtype(dtype), rank[0] if rank else 1))
        elif isinstance(annotation, DType) or annotation in (bool, int, float):
            parameters.append(Parameter(name, "scalar", as_dtype(annotation)))
        else:
            raise LaunchError(
                f"the signature of {kernel!r} has {annotation!r}; write Array[dtype, rank] or a dtype"
            )
    return tuple(parameters)


def _node(parameter: Parameter) -> Memory | Value:
    assert parameter.dtype is not None
    if parameter.kind == "array":
        return Memory(parameter.name, parameter.dtype, "global", parameter.rank or 1)
    return Value(parameter.name, parameter.dtype)


class NativeSource:
    """One native kernel."""

    def __init__(self, parameters: tuple[Parameter, ...], name: str, code: ObjectCode) -> None:
        self.parameters = parameters
        self.name = name
        self.code = code
        # native code may write whatever it gets
        self.written = frozenset(p.name for p in parameters if p.kind == "array")

    def constants(self, types: tuple[ArgumentType, ...]) -> tuple[Any, ...]:
        return ()

    def watched(self, types: tuple[ArgumentType, ...]) -> tuple[tuple[Any, str, Any], ...]:
        return ()

    def specialize(
        self,
        types: tuple[ArgumentType, ...],
        ndim: int,
        math: Literal["strict", "fast"],
        target: Target | None,
    ) -> NativeSource:
        return self

    def check_range(self, name: str, shape: tuple[int, ...]) -> None:
        raise LaunchError(f"{name} is native code; launch it with {name}[grid, block](...)")

    def variant(
        self, check: Check, kind: RangeKind, small: bool, noalias: bool, block: tuple[int, ...], items: int
    ) -> Variant:
        return Variant()  # the code is what it is

    def bounds(self, *, is_range: bool, small: bool, block: tuple[int, ...] | None) -> Bounds:
        raise LaunchError(f"{self.name} is native code, whose accesses nobody checks")

    def bounds_summary(
        self,
        state: ContextState,
        candidates: Sequence[Variant],
        *,
        is_range: bool,
        small: bool,
        block: tuple[int, ...] | None,
    ) -> None:
        return None

    needs_block = False
    can_coarsen = False
    block_multiple = 1
    sized_module = None

    def program(self, state: ContextState, variant: Variant) -> Program:
        device = state.device
        with device._lock:
            table = device._programs.setdefault(self, {})
            found: Program | None = table.get(device._generation)
            if found is None:
                params = tuple(
                    Param(p.name, p.dtype.name if p.dtype else "", p.rank or 0) for p in self.parameters
                )
                executable = state.toolchain.load(self.code)
                found = Program(self.name, executable, params, tuple, device._generation, state.toolchain)
                table[device._generation] = found
            return found
