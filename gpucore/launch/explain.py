"""What comes of a kernel without a launch by the user: what is known of each access, hits and misses of the cache, runs on the
host's data.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from gpucore._messages import did_you_mean
from gpucore.compile.cache import current
from gpucore.compile.pipeline import Variant, digest, program_key
from gpucore.errors import KernelBoundsError, LaunchError
from gpucore.ir.bounds.polynomials import describe
from gpucore.ir.records import RecordType, array_name, is_of_records
from gpucore.lang.types import REQUIRED, ArgumentType, ArrayType, ConstValue, Parameter, ScalarType
from gpucore.launch.argument_checks import classify, find_state, options_of
from gpucore.launch.arguments import RecordConverter, converter, example_type, reads_of, with_default_float
from gpucore.launch.calls import overlap
from gpucore.launch.launch_conditions import LaunchBounds
from gpucore.launch.shapes import LaunchShape, LaunchShapes
from gpucore.launch.specialization import LanguageSource, LanguageSpecialization
from gpucore.runtime.array import Array

if TYPE_CHECKING:
    from gpucore.ir.bounds.analysis import Access, Bounds
    from gpucore.ir.passes.checks import Check
    from gpucore.launch.configured import ConfiguredKernel
    from gpucore.launch.kernel import Kernel
    from gpucore.runtime.context import Context
    from gpucore.runtime.state import ContextState

__all__ = ["AccessCheck", "access_checks", "explain", "interpret_configured", "run_on_ndarrays"]


_LIMIT = 2**31


@dataclass(frozen=True)
class AccessCheck:
    """Where one access of a kernel is checked.

    Attributes
    ----------
    array : str
        The array's name in the kernel.
    line : int or None
        In the file that the kernel is in.
    where : {"proven", "launch", "device"}
        ``proven``: it cannot leave its array, so that nothing is checked.  ``launch``: the host compares extents, scalar
        arguments and the launch shape before a launch; only where they do not suffice the device checks.  ``device``: each
        thread checks.
    reason : str
        Why, and for ``launch`` the condition and whether it holds.
    kind : {"load", "store", "atomic"}
    """

    array: str
    line: int | None
    where: Literal["proven", "launch", "device"]
    reason: str
    kind: Literal["load", "store", "atomic"]


def access_checks(configured: ConfiguredKernel[Any], args: tuple[Any, ...]) -> list[AccessCheck]:
    """The accesses of a launch with these arguments, in source order."""
    kernel = configured.kernel
    source = kernel.kernel_source
    if not isinstance(source, LanguageSource):
        raise LaunchError(f"{kernel.__name__} is native code, whose accesses nobody checks")
    examples = [
        example_type(p, v, who=f"{kernel.__name__}: the argument {p.name!r}")
        for p, v in zip(kernel.parameters, args, strict=True)
    ]
    types = with_default_float(kernel.parameters, args, examples)
    specialization = source.specialize(types, configured.kind.ndim, kernel.math or "strict", None)
    is_range = configured.kind.is_range
    if is_range:
        specialization.check_range(kernel.__name__, configured.shape or ())
    block = configured.block if specialization.needs_block and not is_range else None
    constants = {p.name for p, t in zip(kernel.parameters, types, strict=True) if isinstance(t, ConstValue)}
    bounds = specialization.bounds(is_range=is_range, small=_is_small(configured, args), block=block)
    launch = LaunchBounds(bounds, "auto", kernel.__name__)
    failure: KernelBoundsError | None = None
    if not configured.kind.is_empty:
        try:
            launch.level(configured, reads_of(launch.terms, kernel.parameters, args))
        except KernelBoundsError as error:
            failure = error
    assert not constants & {term.name for term in launch.terms}
    return [_check(bounds, access, failure) for access in bounds.accesses.values()]


def _is_small(configured: ConfiguredKernel[Any], args: Sequence[Any]) -> bool:
    extents = (*configured.grid, *configured.block) if configured.shape is None else configured.shape
    sizes = [int(np.prod(arg.shape, dtype=object)) for arg in args if hasattr(arg, "shape")]
    return all(size < _LIMIT for size in (*sizes, int(np.prod(extents, dtype=object))))


def _check(bounds: Bounds, access: Access, failure: KernelBoundsError | None) -> AccessCheck:
    loc, array = access.loc, array_name(access.memory.name)
    line = loc.line if loc is not None else None
    where = access.where
    if where == "proven":
        reason = "guards, loop bounds and ids keep each index inside"
    elif where == "launch":
        reason = f"inside where {describe(bounds.atoms, access.needs)}"
        if failure is not None and (failure.array, failure.lineno) == (array, line):
            reason += f"; this launch leaves it at index {failure.index}"
    else:
        axes = sorted(
            {
                axis
                for axis in range(access.memory.rank - is_of_records(access.memory.name))
                for side in ("low", "high")
                if (axis, side) not in access.proven
            }
        )
        reason = (
            f"the index on {'axes' if len(axes) > 1 else 'axis'} {', '.join(map(str, axes))} depends on data"
        )
    return AccessCheck(array, line, where, reason, access.kind)


_WORDS = {
    "kernel": "the kernel's code, its constants, or the types of its arguments",
    "options": "the options (checked mode, range launch, overlap, block, shared arrays)",
    "gpucore": "the version of gpucore, of the IR, of its passes, or of the math library",
    "plugin": "the versions or the sources of the backend, or its compiler",
    "target": "the device that code is made for",
}


def explain(kernel: Kernel, *args: Any) -> str:
    """In words: whether the next launch of ``kernel`` with these arguments compiles, and why."""
    from gpucore.launch.kernel import Kernel

    if not isinstance(kernel, Kernel):
        raise TypeError(
            f"explain() takes a kernel and its arguments, explain(kernel, x, y), not {kernel!r}; the launch shape is "
            "that of its last launch"
        )
    if not isinstance(kernel.kernel_source, LanguageSource):
        raise LaunchError(f"{kernel.__name__} is native code, which is compiled once for each module")
    try:
        specialization, state, variant, how = _next_launch(kernel, args)
    except KernelBoundsError as error:
        return f"{kernel.__name__}, in the shape of its last launch: refused before it runs, nothing compiles: {error}"
    cache = current(state.settings)
    key, parts = program_key(state.toolchain, specialization.module, variant)
    digests = {part: digest(text) for part, text in parts.items()}
    where = "in memory (the cache is off)" if cache.directory is None else f"in {cache.directory}"
    head = f"{kernel.__name__}, {how}, on {state.device.backend}:{state.device.ordinal}: "
    if specialization.is_loaded(state, variant):
        return head + "no compilation: this process has it loaded already"
    if cache.peek(key) is not None:
        return head + f"hit: entry {key[:16]} {where}"
    relatives = [entry for entry in cache.entries() if entry.header.get("name") == specialization.name]
    if not relatives:
        return head + f"miss: no kernel of that name was compiled before {where}"
    closest = min(relatives, key=lambda entry: len(_changed(entry.header["parts"], digests)))
    changed = _changed(closest.header["parts"], digests)
    if not changed:
        return head + f"miss: its entry {where} is damaged and will be written anew"
    return (
        head + "miss: since the closest entry these changed: " + "; ".join(_WORDS[part] for part in changed)
    )


def _next_launch(
    kernel: Kernel, args: tuple[Any, ...]
) -> tuple[LanguageSpecialization, ContextState, Variant, str]:
    """The launch that is explained: in the shape of the last one, or over the shape of the first array."""
    args = kernel.arrange(args, {})
    state = find_state(kernel, None, args)
    types, signatures, _ = classify(kernel, args, state)
    check, math = options_of(signatures, None)
    arrays = [arg for arg in args if type(arg) is Array]
    configured = kernel.latest or kernel.over(arrays[0].shape)
    guessed = "" if kernel.latest else " (the shape of its first array: it was not launched yet)"
    kind = configured.kind
    source = kernel.kernel_source
    assert isinstance(source, LanguageSource)
    specialization = source.specialize(types, kind.ndim, kernel.math or math, state.device._target)
    small = all(signature.small for signature in signatures if signature is not None)
    if kind.is_empty:
        ones = (1,) * kind.ndim
        configured = kernel.over(ones) if kind.is_range else kernel[ones, ones]

    def of(level: Check) -> tuple[LaunchShapes, LaunchShape]:
        shapes = LaunchShapes(
            kernel.__name__, specialization, state.device, check=level, small=small, is_range=kind.is_range
        )
        return shapes, shapes.of(configured.grid, configured.block, configured.shape)

    shapes, shape = of(False)
    shared: tuple[int, ...] = ()
    if check or specialization.sized_module is not None:
        block = shape.config.block if specialization.needs_block else None
        bounds = specialization.bounds(is_range=kind.is_range, small=shape.small, block=block)
        launch = LaunchBounds(bounds, check, kernel.__name__)
        reads = reads_of(launch.terms, kernel.parameters, args)
        shapes, shape = of(launch.level(configured, reads))
        if specialization.sized_module is not None:
            shared = launch.shared(configured, reads, specialization.module, state.toolchain)
    how = f"over {configured.shape}" if kind.is_range else f"grid {configured.grid}, block {configured.block}"
    apart = not any(overlap(a, b) for n, a in enumerate(arrays) for b in arrays[n + 1 :])
    variant = replace(shapes.variant(shape, apart or not specialization.written), shared=shared)
    return specialization, state, variant, how + guessed


def _changed(old: dict[str, str], new: dict[str, str]) -> list[str]:
    return [part for part in new if old.get(part) != new[part]]


def interpret_configured(
    configured: ConfiguredKernel[Any], args: tuple[Any, ...], *, subgroup_size: int, detect_races: bool
) -> frozenset[str]:
    """Interpret a launch on ndarrays and Arrays, in place; the names of the arrays that the kernel writes.

    Arrays are copied to the host, and those that the kernel writes are copied back.

    Raises
    ------
    LaunchError
        Where an argument does not fit, or the kernel is native code.
    """
    kernel = configured.kernel
    # an Array that is given twice is one memory for the kernel too
    hosts: dict[int, npt.NDArray[Any]] = {id(arg): arg.numpy() for arg in args if isinstance(arg, Array)}
    grid, block = configured.grid, configured.block
    if configured.shape is not None:
        # a range launch promises nothing about blocks: each thread is one of its own
        grid, block = configured.shape, (1,) * len(configured.shape)
    written = kernel._language().interpret(
        kernel,
        grid,
        block,
        tuple(hosts.get(id(arg), arg) for arg in args),
        subgroup_size=subgroup_size,
        detect_races=detect_races,
        shape=configured.shape,
    )
    for parameter, arg in zip(kernel.parameters, args, strict=True):
        if isinstance(arg, Array) and parameter.name in written:
            arg.copy_from(hosts[id(arg)])
    return written


def run_on_ndarrays(
    configured: ConfiguredKernel[Any], on: str, arguments: Mapping[str, Any]
) -> dict[str, npt.NDArray[Any]]:
    """Copy the arguments to a device, launch there, and copy back what the kernel wrote.

    Raises
    ------
    LaunchError
        Where an argument is missing, unknown or does not fit.
    """
    kernel = configured.kernel
    args = tuple(
        arg.numpy() if isinstance(arg, Array) else arg for arg in _in_order(configured, on, arguments)
    )
    examples = [
        _checked(parameter, arg, who=f"{kernel.__name__}: the argument {parameter.name!r}")
        for parameter, arg in zip(kernel.parameters, args, strict=True)
    ]
    if on == "interpret":
        copies = tuple(np.array(arg) if isinstance(arg, np.ndarray) else arg for arg in args)
        written = interpret_configured(configured, copies, subgroup_size=32, detect_races=True)
        return _results(kernel.parameters, copies, written)
    from gpucore.runtime.context import Context

    types = with_default_float(kernel.parameters, args, examples)
    with Context(on) as context:
        on_device = tuple(
            _on_device(context, arg, type_) if isinstance(type_, ArrayType) else arg
            for arg, type_ in zip(args, types, strict=True)
        )
        kernel._on_stream(configured, context.default_stream)(*on_device)
        specialization = kernel.kernel_source.specialize(
            types, configured.kind.ndim, kernel.math or context.math, context.device._target
        )
        return _results(kernel.parameters, on_device, specialization.written)


def _checked(parameter: Parameter, value: Any, who: str) -> ArgumentType:
    """The type of an argument; scalars are held against the annotation, as a launch holds them."""
    found = example_type(parameter, value, who)
    if isinstance(found, ScalarType) and isinstance(parameter.dtype, RecordType):
        RecordConverter(parameter.dtype, who)(value)
    elif isinstance(found, ScalarType) and parameter.dtype is not None:
        converter(parameter.dtype, who)(value)
    return found


def _on_device(context: Context, array: npt.NDArray[Any], type_: ArrayType) -> Array[Any]:
    return context.array(array, type_.dtype) if isinstance(type_.dtype, RecordType) else context.array(array)


def _results(
    parameters: Sequence[Parameter], values: Sequence[Any], written: frozenset[str]
) -> dict[str, npt.NDArray[Any]]:
    return {
        parameter.name: value.numpy() if isinstance(value, Array) else value
        for parameter, value in zip(parameters, values, strict=True)
        if parameter.name in written
    }


def _in_order(configured: ConfiguredKernel[Any], on: str, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments and defaults in the order of the parameters, or an error that names each one that is wrong."""
    kernel = configured.kernel
    if not isinstance(on, str):
        raise LaunchError(f"{kernel.__name__}.run: on is 'interpret' or a backend selector, not {on!r}")
    if on != "interpret" and difflib.get_close_matches(on, ["interpret"], cutoff=0.8):
        raise LaunchError(f"{kernel.__name__}.run: on={on!r} is no device; did you mean 'interpret'?")
    names = [parameter.name for parameter in kernel.parameters]
    missing = [p.name for p in kernel.parameters if p.name not in arguments and p.default is REQUIRED]
    for name in arguments:
        if name not in names:
            raise LaunchError(
                f"{kernel.__name__} has no parameter {name!r}{did_you_mean(name, missing or names)}; "
                f"it takes {', '.join(names)}"
            )
    if missing:
        example = ", ".join(f"{name}=..." for name in names)
        raise LaunchError(
            f"{kernel.__name__}: missing arguments: {', '.join(missing)}; write .run(on={on!r}, {example})"
        )
    return kernel.arrange((), dict(arguments))
