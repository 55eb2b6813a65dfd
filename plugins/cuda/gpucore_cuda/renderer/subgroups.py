"""Subgroup operations as warp shuffles, in the orders that ``gpucore.ir.ops.SUBGROUP_OPS`` fixes.

A block whose size is no multiple of 32 ends in a warp with missing lanes.  ``gc_lanes()`` counts those
that exist; every shuffle names exactly them, so that lanes which the compiler let diverge meet again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpucore.ir import DType, bool_, f32, f64
from gpucore.ir.clike import Dialect, Helper, half_bits, held, is_narrow, literal, unsigned
from gpucore_cuda.renderer.helpers import FORCE
from gpucore_cuda.renderer.operations import is_half


def _lane(block: tuple[int, ...] | None) -> Helper:
    """The thread's place in its warp; where the block is known its extents are literals."""
    linear = "threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)"
    if block is not None:
        extents = [f"{extent}u" for extent in reversed(block)]
        terms = ("threadIdx.x", f" + {extents[0]} * threadIdx.y", f" + {math.prod(block[1:])}u * threadIdx.z")
        linear = "".join(terms[: len(block)])
    return Helper(
        f"{FORCE} u32 gc_linear_id() {{ return {linear}; }}\n"
        f"{FORCE} i32 gc_lane() {{ return i32(gc_linear_id() & 31u); }}"
    )


def _lanes(block: tuple[int, ...] | None) -> Helper:
    """How many lanes of the warp exist, and their mask."""
    if block is not None and math.prod(block) % 32 == 0:
        return Helper(
            f"{FORCE} i32 gc_lanes() {{ return 32; }}\n{FORCE} u32 gc_mask() {{ return 0xffffffffu; }}",
            ("gc_lane",),
        )
    threads = "blockDim.x * blockDim.y * blockDim.z" if block is None else f"{math.prod(block)}u"
    return Helper(
        f"{FORCE} i32 gc_lanes() {{\n"
        f"  const u32 left = {threads} - (gc_linear_id() & ~31u);\n"
        "  return left < 32u ? i32(left) : 32;\n}\n"
        f"{FORCE} u32 gc_mask() {{\n"
        "  const i32 lanes = gc_lanes();\n"
        "  return lanes == 32 ? 0xffffffffu : (1u << lanes) - 1u;\n}",
        ("gc_lane",),
    )


def subgroup_call(
    dialect: Dialect, block: tuple[int, ...] | None, op: str, d: DType, args: Sequence[str]
) -> str:
    """The C++ text of a subgroup operation on operands of dtype ``d`` (any for ``size`` and ``lane``)."""
    dialect.library.add("gc_lane", _lane(block))
    if op == "size":
        return "32"
    if op == "lane":
        return "gc_lane()"
    dialect.library.add("gc_lanes", _lanes(block))
    if op in ("any", "all"):
        return f"(__{op}_sync(gc_mask(), {args[0]}) != 0)"
    if op == "ballot":
        return f"u64(__ballot_sync(gc_mask(), {args[0]}))"
    shuffle = _shuffle(dialect, d)
    if op in ("broadcast", "shuffle"):
        return f"{shuffle}({args[0]}, {args[1]})"
    if op == "shuffle_xor":
        return f"{shuffle}({args[0]}, gc_lane() ^ {args[1]})"
    maker = {"sum": _sum, "min": _extreme, "max": _extreme}.get(op, _scan)
    return f"{maker(dialect, op, d)}({args[0]})"


def _shuffle(dialect: Dialect, d: DType) -> str:
    """A lane's value, or the thread's own where that lane does not exist."""
    name, t = f"gc_shuffle_{d.name}", held(d)
    if d in (f32, f64) or d.bits in (32, 64):
        fetch = "__shfl_sync(gc_mask(), x, there ? lane : own)"
    else:
        fetch = f"{t}(__shfl_sync(gc_mask(), u32(x), there ? lane : own))"
    if d is bool_:
        fetch = "__shfl_sync(gc_mask(), u32(x), there ? lane : own) != 0u"
    return dialect.library.add(
        name,
        Helper(
            f"{FORCE} {t} {name}({t} x, i32 lane) {{\n"
            "  const i32 own = gc_lane();\n"
            "  const bool there = lane >= 0 && lane < gc_lanes();\n"
            f"  return {fetch};\n}}",
            ("gc_lane", "gc_lanes"),
        ),
    )


def _add(dialect: Dialect, d: DType, a: str, b: str) -> str:
    if is_half(d):
        return f"{dialect.library.use(f'gc_add_{d.name}')}({a}, {b})"
    if d.is_float:
        return f"{a} + {b}"
    u = unsigned(d)
    convert = dialect.library.use(f"gc_wrap_{d.name}") if is_narrow(d) else d.name
    return f"{convert}({u}({a}) + {u}({b}))"


def _sum(dialect: Dialect, op: str, d: DType) -> str:
    """The xor butterfly, m = 1, 2, 4, 8, 16; a group that is wholly missing adds nothing."""
    name, t, shuffle = f"gc_sum_{d.name}", held(d), _shuffle(dialect, d)
    return dialect.library.add(
        name,
        Helper(
            f"{FORCE} {t} {name}({t} x) {{\n"
            "  const i32 lane = gc_lane(), lanes = gc_lanes();\n"
            "  for (i32 m = 1; m < 32; m <<= 1) {\n"
            "    const i32 partner = (lane ^ m) & ~(m - 1);\n"
            f"    const {t} y = {shuffle}(x, partner);\n"
            f"    if (partner < lanes) x = {_add(dialect, d, 'x', 'y')};\n"
            "  }\n"
            "  return x;\n}"
        ),
    )


def _extreme(dialect: Dialect, op: str, d: DType) -> str:
    name, t, shuffle = f"gc_subgroup_{op}_{d.name}", held(d), _shuffle(dialect, d)
    if d.is_float:
        best = f"{dialect.library.use(f'gc_{op}_{d.name}')}(x, y)"
    elif is_narrow(d):
        best = f"{dialect.library.use(f'gc_narrow_{op}_{t}')}(x, y)"
    else:
        best = f"x {'<' if op == 'min' else '>'} y ? x : y"
    return dialect.library.add(
        name,
        Helper(
            f"{FORCE} {t} {name}({t} x) {{\n"
            "  for (i32 m = 1; m < 32; m <<= 1) {\n"
            f"    const {t} y = {shuffle}(x, (gc_lane() ^ m) & ~(m - 1));\n"
            f"    x = {best};\n"
            "  }\n"
            "  return x;\n}"
        ),
    )


def _scan(dialect: Dialect, op: str, d: DType) -> str:
    """Hillis and Steele, d = 1, 2, 4, 8, 16."""
    inclusive, t, shuffle = f"gc_inclusive_sum_{d.name}", held(d), _shuffle(dialect, d)
    dialect.library.add(
        inclusive,
        Helper(
            f"{FORCE} {t} {inclusive}({t} x) {{\n"
            "  const i32 lane = gc_lane();\n"
            "  for (i32 d = 1; d < 32; d <<= 1) {\n"
            f"    const {t} y = {shuffle}(x, lane - d);\n"
            f"    if (lane >= d) x = {_add(dialect, d, 'y', 'x')};\n"
            "  }\n"
            "  return x;\n}"
        ),
    )
    if op == "inclusive_sum":
        return inclusive
    name = f"gc_exclusive_sum_{d.name}"
    zero = f"u16(0x{half_bits(0.0, d):04x}u)" if is_half(d) else literal(dialect, 0, d).text
    return dialect.library.add(
        name,
        Helper(
            f"{FORCE} {t} {name}({t} x) {{\n"
            f"  const {t} before = {shuffle}({inclusive}(x), gc_lane() - 1);\n"
            f"  return gc_lane() == 0 ? {zero} : before;\n}}"
        ),
    )
