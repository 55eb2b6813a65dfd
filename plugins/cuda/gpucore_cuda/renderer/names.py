"""CUDA C++'s own names, and the types that the rendered code is written in."""

from __future__ import annotations

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
"""Identifiers that mean something already."""
