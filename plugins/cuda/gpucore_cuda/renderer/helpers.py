"""Device helper functions that rendered kernels use; only those that a kernel needs are put into its source.

Conversions are written as PTX where C++ leaves the result undefined (out of range, NaN) or where NVRTC has no
header (half precision); see "Conversion instructions" in the PTX ISA for the rounding and saturation
relied on.
"""

from __future__ import annotations

from gpucore.ir.clike import Helper, plain_helpers

FORCE = "static __device__ __forceinline__"


def cast(to: str, text: str) -> str:
    """A conversion in C++."""
    return f"{to}({text})"


def _asm(result: str, name: str, param: str, instruction: str, out: str, into: str) -> str:
    return (
        f"{FORCE} {result} {name}({param} x) {{\n"
        f"  {result} r;\n"
        f'  asm("{instruction} %0, %1;" : "={out}"(r) : "{into}"(x));\n'
        f"  return r;\n}}"
    )


def _float_to_int() -> dict[str, Helper]:
    """Truncate, saturate, NaN to 0.  PTX saturates; it gives 0 for NaN only from f32 to 32 bits."""
    made: dict[str, Helper] = {}
    for source, constraint in (("f32", "f"), ("f64", "d")):
        for to, ptx, out in (
            ("i32", "s32", "r"),
            ("u32", "u32", "r"),
            ("i64", "s64", "l"),
            ("u64", "u64", "l"),
        ):
            name = f"gc_{source}_to_{to}"
            instruction = f"cvt.rzi.{ptx}.{source}"
            if source == "f32" and to in ("i32", "u32"):
                made[name] = Helper(_asm(to, name, source, instruction, out, constraint))
                continue
            made[name] = Helper(
                f"{FORCE} {to} {name}({source} x) {{  // the instruction does not give 0 for NaN\n"
                f"  {to} r;\n"
                f'  asm("{instruction} %0, %1;" : "={out}"(r) : "{constraint}"(x));\n'
                f"  return gc_apart_{source}(x) != x ? 0 : r;\n}}",
                (f"gc_apart_{source}",),
            )
        for bits in (8, 16):
            wide, bound = f"gc_{source}_to_i32", 1 << (bits - 1)
            made[f"gc_{source}_to_i{bits}"] = Helper(
                f"{FORCE} i32 gc_{source}_to_i{bits}({source} x) {{\n"
                f"  return gc_narrow_min_i32(gc_narrow_max_i32({wide}(x), {-bound}), {bound - 1});\n}}",
                (wide, "gc_narrow_min_i32", "gc_narrow_max_i32"),
            )
            wide = f"gc_{source}_to_u32"
            made[f"gc_{source}_to_u{bits}"] = Helper(
                f"{FORCE} u32 gc_{source}_to_u{bits}({source} x) {{\n"
                f"  return gc_narrow_min_u32({wide}(x), {2 * bound - 1}u);\n}}",
                (wide, "gc_narrow_min_u32"),
            )
    return made


def _narrow() -> dict[str, Helper]:
    """Narrow integers, held as 32 bits.

    Written as PTX, so that the compiler cannot take the arithmetic around it back to 16 bits: what ptxas makes of
    16-bit ``neg``, ``abs``, ``min`` and ``max`` keeps more bits than the type has, or compares the wrong ones.
    """
    made: dict[str, Helper] = {}
    for name, instruction in (
        ("i8", "cvt.s32.s8 %0, %1"), ("i16", "cvt.s32.s16 %0, %1"),
        ("u8", "and.b32 %0, %1, 255"), ("u16", "and.b32 %0, %1, 65535"),
    ):  # fmt: skip
        wide = f"{name[0]}32"
        made[f"gc_wrap_{name}"] = Helper(
            f"{FORCE} {wide} gc_wrap_{name}(u32 x) {{\n"
            f"  {wide} r;\n"
            f'  asm("{instruction};" : "=r"(r) : "r"(x));\n'
            f"  return r;\n}}"
        )
    for op in ("min", "max"):
        for wide in ("i32", "u32"):
            made[f"gc_narrow_{op}_{wide}"] = Helper(
                f"{FORCE} {wide} gc_narrow_{op}_{wide}({wide} a, {wide} b) {{\n"
                f"  {wide} r;\n"
                f'  asm("{op}.{wide.replace("i", "s")} %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));\n'
                f"  return r;\n}}"
            )
    return made


def _guarded() -> dict[str, Helper]:
    """What guarded programs use in place of operators, see :mod:`gpucore_cuda.assembler`, and what hides numbers from NVVM."""
    made: dict[str, Helper] = {}
    for t in ("i32", "u32"):
        made[f"gc_guarded_{t}"] = Helper(_asm(t, f"gc_guarded_{t}", t, "mov.b32", "r", "r"))
    made["gc_guarded_abs_f32"] = Helper(  # ptxas, too, sees through anything but the mask
        f"{FORCE} f32 gc_guarded_abs_f32(f32 x) {{\n"
        "  f32 r;\n"
        '  asm("and.b32 %0, %1, 0x7fffffff;" : "=f"(r) : "f"(x));\n'
        "  return r;\n}"
    )
    for t, c in (("u32", "r"), ("u64", "l")):
        made[f"gc_guarded_not_{t}"] = Helper(_asm(t, f"gc_guarded_not_{t}", t, f"not.b{t[1:]}", c, c))
    for d, kind, out, bits in (("f32", "b32", "f", "0x7fc00000"), ("f64", "b64", "d", "0x7ff8000000000000")):
        made[f"gc_apart_{d}"] = Helper(_asm(d, f"gc_apart_{d}", d, f"mov.{kind}", out, out))
        made[f"gc_nan_{d}"] = Helper(
            f'{FORCE} {d} gc_nan_{d}() {{\n  {d} r;\n  asm("mov.{kind} %0, {bits};" : "={out}"(r));\n  return r;\n}}'
        )
    made["gc_zeros"] = Helper("static __constant__ f32 gc_zeros[2] = {0.0f, -0.0f};")
    made["gc_guarded_xor"] = Helper(
        f"{FORCE} u32 gc_guarded_xor(u32 a, u32 b) {{\n"
        "  u32 r;\n"
        '  asm("xor.b32 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));\n'
        "  return r;\n}"
    )
    return made


def _absolute() -> dict[str, Helper]:
    """The absolute value, the minimum staying what it is.

    NVVM writes ``x < 0 ? -x : x`` as the instruction ``abs``, whose result ptxas takes for no less than 0; so the mask
    of the sign is computed where NVVM does not see it.
    """
    return {
        f"gc_abs_i{bits}": Helper(
            f"{FORCE} i{bits} gc_abs_i{bits}(i{bits} x) {{\n"
            f"  u{bits} sign;\n"
            f'  asm("shr.s{bits} %0, %1, {bits - 1};" : "={c}"(sign) : "{c}"(x));\n'
            f"  return i{bits}((u{bits}(x) ^ sign) - sign);\n}}"
        )
        for bits, c in ((32, "r"), (64, "l"))
    }


def _half() -> dict[str, Helper]:
    """Conversions of f16 and bf16, each rounding once, to even; subnormals are kept."""
    return {
        "gc_f16_to_f32": Helper(_asm("f32", "gc_f16_to_f32", "u16", "cvt.f32.f16", "f", "h")),
        "gc_f32_to_f16": Helper(_asm("u16", "gc_f32_to_f16", "f32", "cvt.rn.f16.f32", "h", "f")),
        "gc_f64_to_f16": Helper(_asm("u16", "gc_f64_to_f16", "f64", "cvt.rn.f16.f64", "h", "d")),
        # every magnitude from 65520 on rounds to infinity, so the clamp loses nothing and f64 is exact
        "gc_i64_to_f16": Helper(
            f"{FORCE} u16 gc_i64_to_f16(i64 x) {{\n"
            "  return gc_f64_to_f16(f64(x < -131072ll ? -131072ll : x > 131072ll ? 131072ll : x));\n}",
            ("gc_f64_to_f16",),
        ),
        "gc_u64_to_f16": Helper(
            f"{FORCE} u16 gc_u64_to_f16(u64 x) {{\n"
            "  return gc_f64_to_f16(f64(x > 131072ull ? 131072ull : x));\n}",
            ("gc_f64_to_f16",),
        ),
        "gc_bf16_to_f32": Helper(
            f"{FORCE} f32 gc_bf16_to_f32(u16 x) {{ return __uint_as_float(u32(x) << 16); }}"
        ),
        "gc_f32_to_bf16.sm_80": Helper(_asm("u16", "gc_f32_to_bf16", "f32", "cvt.rn.bf16.f32", "h", "f")),
        "gc_f32_to_bf16": Helper(
            f"{FORCE} u16 gc_f32_to_bf16(f32 x) {{\n"
            "  const u32 bits = __float_as_uint(x);\n"
            "  if (gc_apart_f32(x) != x) return u16(0x7fc0u);\n"
            "  return u16((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);\n}",
            ("gc_apart_f32",),
        ),
        # Round to odd in f32 first: with 24 bits against 8, rounding that to bf16 equals rounding once.
        "gc_f64_to_bf16": Helper(
            f"{FORCE} u16 gc_f64_to_bf16(f64 x) {{\n"
            "  const f32 toward_zero = __double2float_rz(x);\n"
            "  const u32 sticky = f64(toward_zero) != x && gc_apart_f64(x) == x ? 1u : 0u;\n"
            "  return gc_f32_to_bf16(__uint_as_float(__float_as_uint(toward_zero) | sticky));\n}",
            ("gc_f32_to_bf16", "gc_apart_f64"),
        ),
        "gc_i64_to_bf16": Helper(
            f"{FORCE} u16 gc_i64_to_bf16(i64 x) {{\n"
            "  const f32 toward_zero = __ll2float_rz(x);\n"
            "  const u32 sticky = __float2ll_rz(toward_zero) != x ? 1u : 0u;\n"
            "  return gc_f32_to_bf16(__uint_as_float(__float_as_uint(toward_zero) | sticky));\n}",
            ("gc_f32_to_bf16",),
        ),
        "gc_u64_to_bf16": Helper(
            f"{FORCE} u16 gc_u64_to_bf16(u64 x) {{\n"
            "  const f32 toward_zero = __ull2float_rz(x);\n"
            "  const u32 sticky = __float2ull_rz(toward_zero) != x ? 1u : 0u;\n"
            "  return gc_f32_to_bf16(__uint_as_float(__float_as_uint(toward_zero) | sticky));\n}",
            ("gc_f32_to_bf16",),
        ),
        "gc_fma_f16": Helper(
            f"{FORCE} u16 gc_fma_f16(u16 a, u16 b, u16 c) {{\n"
            "  u16 r;\n"
            '  asm("fma.rn.f16 %0, %1, %2, %3;" : "=h"(r) : "h"(a), "h"(b), "h"(c));\n'
            "  return r;\n}"
        ),
    }


def _bits() -> dict[str, Helper]:
    """The bits of a float with NaN made canonical."""
    return {
        "gc_dot4_mixed": Helper(  # CUDA C++ has no intrinsic with two signs, PTX has the instruction
            f"{FORCE} u32 gc_dot4_mixed(u32 x, u32 y, u32 z) {{\n"
            '  u32 r; asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); return r;\n}'
        ),
        "gc_bits_f32": Helper(
            f"{FORCE} u32 gc_bits_f32(f32 x) {{\n"
            "  return gc_apart_f32(x) != x ? 0x7fc00000u : __float_as_uint(x);\n}",
            ("gc_apart_f32",),
        ),
        "gc_bits_f64": Helper(
            f"{FORCE} u64 gc_bits_f64(f64 x) {{\n"
            "  return gc_apart_f64(x) != x ? 0x7ff8000000000000ull : u64(__double_as_longlong(x));\n}",
            ("gc_apart_f64",),
        ),
        "gc_bits_f16": Helper(
            f"{FORCE} u16 gc_bits_f16(u16 x) {{ return u16((x & 0x7fffu) > 0x7c00u ? 0x7e00u : x); }}"
        ),
        "gc_bits_bf16": Helper(
            f"{FORCE} u16 gc_bits_bf16(u16 x) {{ return u16((x & 0x7fffu) > 0x7f80u ? 0x7fc0u : x); }}"
        ),
    }


def _min_max() -> dict[str, Helper]:
    """NaN wins, -0 < +0.  PTX orders the zeros; ``.NaN`` exists for f32 from sm_80 on."""
    made: dict[str, Helper] = {}
    for op in ("min", "max"):
        made[f"gc_{op}_f32.sm_80"] = Helper(
            f"{FORCE} f32 gc_{op}_f32(f32 a, f32 b) {{\n"
            "  f32 r;\n"
            f'  asm("{op}.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));\n'
            "  return r;\n}"
        )
        for name, c in (("f32", "f"), ("f64", "d")):
            made[f"gc_{op}_{name}"] = Helper(
                f"{FORCE} {name} gc_{op}_{name}({name} a, {name} b) {{\n"
                f"  {name} r;\n"
                f'  asm("{op}.{name} %0, %1, %2;" : "={c}"(r) : "{c}"(a), "{c}"(b));\n'
                f"  return gc_apart_{name}(a) != a ? a : gc_apart_{name}(b) != b ? b : r;\n}}",
                (f"gc_apart_{name}",),
            )
    return made


def _half_arithmetic() -> dict[str, Helper]:
    made: dict[str, Helper] = {}
    for half in ("f16", "bf16"):
        up, down = f"gc_{half}_to_f32", f"gc_f32_to_{half}"
        made[f"gc_add_{half}"] = Helper(
            f"{FORCE} u16 gc_add_{half}(u16 a, u16 b) {{ return {down}({up}(a) + {up}(b)); }}", (up, down)
        )
        for op in ("min", "max"):
            made[f"gc_{op}_{half}"] = Helper(
                f"{FORCE} u16 gc_{op}_{half}(u16 a, u16 b) {{\n"
                f"  return {down}(gc_{op}_f32({up}(a), {up}(b)));\n}}",
                (f"gc_{op}_f32", up, down),
            )
    return made


def _atomics() -> dict[str, Helper]:
    """PTX: ``atom.add.f32`` on global memory flushes subnormal numbers to zero (seen on an H200), f64 does not."""
    return {
        "gc_atomic_add_f32": Helper(
            f"{FORCE} f32 gc_atomic_add_f32(f32* element, f32 x) {{\n"
            "  u32* const bits = reinterpret_cast<u32*>(element);\n"
            "  u32 seen = *reinterpret_cast<volatile u32*>(element), expected;\n"
            "  do {\n"
            "    expected = seen;\n"
            "    seen = atomicCAS(bits, expected, __float_as_uint(__uint_as_float(expected) + x));\n"
            "  } while (seen != expected);\n"
            "  return __uint_as_float(seen);\n}"
        )
    }


HELPERS: dict[str, Helper] = {
    **plain_helpers(FORCE, cast), **_float_to_int(), **_narrow(), **_guarded(), **_absolute(), **_half(), **_bits(),
    **_min_max(), **_half_arithmetic(), **_atomics(),
}  # fmt: skip
"""By name; a name that ends in ``.sm_80`` is the form of devices from there on."""


def helper(name: str, capability: int) -> Helper:
    """A helper as devices of a compute capability such as 90 have it."""
    tuned = HELPERS.get(f"{name}.sm_80") if capability >= 80 else None
    return tuned or HELPERS[name]
