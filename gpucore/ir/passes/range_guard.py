"""Range launches: threads past the extents do nothing.

``k.over(shape)`` launches whole blocks.  The extents come as hidden scalars ``$extent0``, ``$extent1``, ...
of dtype ``index``, and the kernel's body runs only where every global id is below its extent.
"""

from __future__ import annotations

from typing import Literal

from gpucore.ir.dtypes import index
from gpucore.ir.nodes import Function, If, Module, ThreadIndex, Value
from gpucore.ir.passes.emit import Emitter, Names, Rewriter, names_of


def range_guard(module: Module, kind: Literal["nd", "folded", "linear"] | None) -> Module:
    """Guard the kernel for a range launch.

    ``"nd"`` keeps the axes of the launch.  ``"folded"`` gives a module of three axes, the last two of the range and one whose
    global id is unravelled over the others: memory is walked through along the last axis, with no division in it.
    ``"linear"`` gives a module of one axis whose global id is unravelled over all extents; it serves shapes past the grid
    limits.
    """
    if kind is None:
        return module
    kernel = module.kernel
    names = Names(names_of(kernel))
    extents = tuple(Value(f"$extent{axis}", index) for axis in range(module.ndim))
    if kind == "nd":
        emitter = Emitter(names)
        ids = tuple(_global_id(emitter, axis) for axis in range(module.ndim))
        body = kernel.body
        ndim = module.ndim
    else:
        rewriter = _Unravel(names)
        kept = 2 if kind == "folded" else 0
        folded = extents[: len(extents) - kept]
        last = tuple(_global_id(rewriter, axis + 1) for axis in range(kept))
        ids = (*rewriter.coordinates(folded), *last)
        rewriter.ids = ids
        body = rewriter.block(kernel.body)
        emitter = rewriter
        ndim = 1 + kept
    inside = emitter.op("lt", ids[0], extents[0])
    for ident, extent in zip(ids[1:], extents[1:], strict=True):
        inside = emitter.op("and", inside, emitter.op("lt", ident, extent))
    emitter.out.append(If(inside, body))
    hidden = [p for p in kernel.params if p.name.startswith("$")]
    user = [p for p in kernel.params if not p.name.startswith("$")]
    guarded = Function(
        kernel.name, (*user, *extents, *hidden), None, kernel.variables, kernel.memories, tuple(emitter.out)
    )
    return Module(guarded, module.functions, ndim, module.math, module.subgroup, module.noalias)


def _global_id(emitter: Emitter, axis: int) -> Value:
    result = emitter.value(index)
    emitter.out.append(ThreadIndex(result, "global_id", axis))
    return result


class _Unravel(Rewriter):
    ids: tuple[Value, ...] = ()

    def coordinates(self, extents: tuple[Value, ...]) -> tuple[Value, ...]:
        """The global id of axis 0, taken apart in C order."""
        rest = _global_id(self, 0)
        one = self.const(1, index)
        found: list[Value] = []
        for extent in reversed(extents[1:]):
            # an empty axis leaves no thread inside, but must not leave a zero divisor either
            divisor = self.op("max", extent, one)
            found.append(self.op("mod", rest, divisor))
            rest = self.op("floordiv", rest, divisor)
        return (rest, *reversed(found))

    def on_thread_index(self, s: ThreadIndex) -> None:
        if s.kind == "global_id":
            self.replaced[s.result.name] = self.ids[s.axis]
        else:
            self.out.append(s)
