"""Why a launch hits or misses the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpucore.compile.cache import current
from gpucore.compile.pipeline import Variant, digest, program_key
from gpucore.errors import KernelBoundsError, LaunchError
from gpucore.launch.access_checks import reads_of
from gpucore.launch.bounds import LaunchBounds
from gpucore.launch.launcher import overlap
from gpucore.launch.resolve import classify, find_state, options_of
from gpucore.launch.shapes import LaunchShape, LaunchShapes
from gpucore.launch.specialization import LanguageSource, LanguageSpecialization
from gpucore.runtime.array import Array

if TYPE_CHECKING:
    from gpucore.ir.passes.checks import Check
    from gpucore.launch.kernel import Kernel
    from gpucore.runtime.state import ContextState

__all__ = ["explain"]

_WORDS = {
    "kernel": "the kernel's code, its constants, or the types of its arguments",
    "options": "the options (checked mode, range launch, overlap, block)",
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
    if check:
        block = shape.config.block if specialization.needs_block else None
        bounds = specialization.bounds(is_range=kind.is_range, small=shape.small, block=block)
        launch = LaunchBounds(bounds, check, kernel.__name__)
        shapes, shape = of(launch.level(configured, reads_of(launch.terms, kernel.parameters, args)))
    how = f"over {configured.shape}" if kind.is_range else f"grid {configured.grid}, block {configured.block}"
    apart = not any(overlap(a, b) for n, a in enumerate(arrays) for b in arrays[n + 1 :])
    return specialization, state, shapes.variant(shape, apart or not specialization.written), how + guessed


def _changed(old: dict[str, str], new: dict[str, str]) -> list[str]:
    return [part for part in new if old.get(part) != new[part]]
