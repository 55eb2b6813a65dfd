"""C++ spellings: types, literals, and identifiers that clash with nothing."""

from __future__ import annotations

import math
import re
import struct

from gpucore.ir import DType, bf16, bool_, f16, f32, u64

TYPEDEFS = """\
typedef signed char i8; typedef short i16; typedef int i32; typedef long long i64;
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef float f32; typedef double f64;
"""
HALF_TYPEDEFS = "typedef u16 f16; typedef u16 bf16;  // bits; arithmetic on them is done in f32\n"

_KEYWORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class
compl concept const consteval constexpr constinit const_cast continue co_await co_return co_yield decltype
default delete do
double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable
namespace
new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast
requires return
short signed sizeof static static_assert static_cast struct switch template this thread_local throw true
try typedef
typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq restrict typeof main
i8 i16 i32 i64 u8 u16 u32 u64 f16 bf16 f32 f64 size_t ptrdiff_t clock_t dim3 NULL INFINITY NAN HUGE_VAL
linux unix threadIdx blockIdx blockDim gridDim warpSize
int1 int2 int3 int4 uint1 uint2 uint3 uint4 char1 char2 char3 char4 uchar1 uchar2 uchar3 uchar4 short1
short2 short3
short4 ushort1 ushort2 ushort3 ushort4 long1 long2 long3 long4 ulong1 ulong2 ulong3 ulong4 longlong1 longlong2
longlong3 longlong4 ulonglong1 ulonglong2 ulonglong3 ulonglong4 float1 float2 float3 float4 double1 double2
double3
double4 abs labs llabs min max umin umax llmin llmax ullmin ullmax fabs fabsf clock clock64 memset memcpy
memmove malloc free printf vprintf fprintf assert alloca surfaceReference textureReference std cuda nv
"""
_MATH = """
acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh cospi cyl_bessel_i0 cyl_bessel_i1 erf
erfc erfcinv
erfcx erfinv exp exp10 exp2 expm1 fdim fdivide floor fma fmax fmin fmod frexp hypot ilogb isfinite isinf
isnan j0 j1
jn ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf nan nearbyint nextafter norm
norm3d norm4d
normcdf normcdfinv pow powi rcbrt remainder remquo rhypot rint rnorm rnorm3d rnorm4d round rsqrt saturate
scalbln scalbn signbit sin sincos sincospi sinh sinpi sqrt tan tanh tanpi tgamma trunc y0 y1 yn
atomicAdd atomicSub atomicMin atomicMax atomicAnd atomicOr atomicXor atomicExch atomicCAS atomicInc atomicDec
any all ballot mulhi mul24 umul24 mul64hi umulhi float2int int2float
"""
RESERVED: frozenset[str] = frozenset(
    [*_KEYWORDS.split(), *_MATH.split(), *(f"{name}f" for name in _MATH.split())]
)


class Names:
    """Gives each IR name its own C++ identifier, keeping the spelling where it can.

    Parameters
    ----------
    taken : Names | None
        Outer names that must not be hidden.
    """

    def __init__(self, taken: Names | None = None) -> None:
        self._used: set[str] = set(taken._used) if taken is not None else set()
        self._given: dict[tuple[str, str], str] = {}

    def __call__(self, kind: str, name: str) -> str:
        """The identifier of the IR entity ``name`` of a kind (``"value"``, ``"var"``, ``"memory"``, ...)."""
        key = (kind, name)
        found = self._given.get(key)
        if found is None:
            found = self._given[key] = self.fresh(name)
        return found

    def adopt(self, kind: str, name: str, identifier: str) -> None:
        """Give an IR entity an identifier that exists already."""
        self._given[kind, name] = identifier

    def fresh(self, name: str) -> str:
        """An identifier close to ``name`` that nothing else has."""
        base = re.sub(r"[^0-9A-Za-z_]", "_", name).lstrip("_") or "v"
        if base[0].isdigit():
            base = f"v{base}"
        if base in RESERVED or base.startswith("gc_"):
            base = f"{base}_"
        candidate, number = base, 1
        while candidate in self._used or "__" in candidate:
            if "__" in candidate:  # reserved for the implementation
                base = candidate = re.sub(r"_+", "_", candidate)
                continue
            number += 1
            candidate = f"{base.rstrip('_')}_{number}"
        self._used.add(candidate)
        return candidate


def is_narrow(dtype: DType) -> bool:
    """Whether values of the dtype are integers of less than 32 bits."""
    return dtype.is_integer and dtype.bits < 32


def held(dtype: DType) -> str:
    """The C++ type of a value of the dtype in a variable.

    Narrow integers are held as 32 bits that always equal the value: C++ promotes them to ``int`` anyway, and 16-bit
    arithmetic is where compilers keep more bits than the type has.
    """
    if is_narrow(dtype):
        return "i32" if dtype.is_signed else "u32"
    return dtype.name


def unsigned(dtype: DType) -> str:
    """The unsigned type in which arithmetic of an integer dtype wraps without undefined behaviour."""
    return "u64" if dtype.bits == 64 else "u32"


def half_bits(value: float, dtype: DType) -> int:
    """The 16 bits of a value that f16 or bf16 represents exactly; NaN gives the canonical quiet NaN."""
    if math.isnan(value):
        return 0x7E00 if dtype is f16 else 0x7FC0
    if dtype is f16:
        return int.from_bytes(struct.pack("<e", value), "little")
    return int.from_bytes(struct.pack("<f", value), "little") >> 16


def bits_of(value: float, dtype: DType) -> int:
    """The bits of a value of f32 or f64; NaN gives the canonical quiet NaN."""
    if math.isnan(value):
        return 0x7FC00000 if dtype is f32 else 0x7FF8000000000000
    return int.from_bytes(struct.pack("<f" if dtype is f32 else "<d", value), "little")


def literal(value: int | float | bool, dtype: DType) -> str:
    """A C++ literal of exactly this value and the type that holds its dtype."""
    if dtype is bool_:
        return "true" if value else "false"
    if dtype in (f16, bf16):
        return f"u16(0x{half_bits(float(value), dtype):04x}u)"
    if dtype.is_float:
        return _float_literal(float(value), dtype)
    number = int(value)
    if dtype.bits == 64 and dtype is not u64:
        return "(-9223372036854775807ll - 1)" if number == -(2**63) else f"{number}ll"
    if dtype is u64:
        return f"{number}ull"
    if not dtype.is_signed:
        return f"{number}u"
    return "(-2147483647 - 1)" if number == -(2**31) else str(number)


def _to_f32(value: float) -> float:
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded


def _float_literal(value: float, dtype: DType) -> str:
    single = dtype is f32
    if math.isnan(value):
        return "__uint_as_float(0x7fc00000u)" if single else "__longlong_as_double(0x7ff8000000000000ll)"
    if math.isinf(value):
        if single:
            return f"__uint_as_float(0x{'7' if value > 0 else 'f'}f800000u)"
        return (
            f"__longlong_as_double({'0x7ff0000000000000ll' if value > 0 else 'i64(0xfff0000000000000ull)'})"
        )
    if not single:
        return repr(value)
    # The shortest decimal that reads back as this float, both directly and by way of a double; else
    # hexadecimal.
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if _to_f32(float(text)) == value:
            if "." not in text and "e" not in text:
                text += ".0"
            return f"{text}f"
    return f"{value.hex()}f"
