// What CUDA C++ gives a rendered kernel, for a compiler of the host: qualifiers, thread coordinates, intrinsics, and
// the helpers that are written as PTX there, from the PTX ISA's text.  Threads of a block take turns as coroutines.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(n)
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))

typedef signed char i8; typedef short i16; typedef int i32; typedef long long i64;
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef float f32; typedef double f64;

struct Coordinates { u32 x, y, z; };
static Coordinates threadIdx, blockIdx, blockDim, gridDim;

// --- threads -------------------------------------------------------------------------------------------------
static ucontext_t scheduler;
static std::vector<ucontext_t> contexts;
static std::vector<char> finished;
static u32 running;
static void (*body)(void*);
static void* given;

static void turn() { body(given); finished[running] = 1; }
static void __syncthreads() { swapcontext(&contexts[running], &scheduler); }
static void __threadfence() {}

static void run_block(void (*function)(void*), void* argument) {
    const u32 threads = blockDim.x * blockDim.y * blockDim.z;
    static std::vector<std::vector<char>> stacks;
    if (stacks.size() < threads) stacks.resize(threads, std::vector<char>(1 << 18));
    contexts.assign(threads, ucontext_t()); finished.assign(threads, 0);
    body = function; given = argument;
    for (u32 t = 0; t < threads; ++t) {
        getcontext(&contexts[t]);
        contexts[t].uc_stack.ss_sp = stacks[t].data(); contexts[t].uc_stack.ss_size = stacks[t].size();
        contexts[t].uc_link = &scheduler;
        makecontext(&contexts[t], turn, 0);
    }
    for (bool left = true; left;) {  // each goes on to its next barrier, or to its end
        left = false;
        for (u32 t = 0; t < threads; ++t) {
            if (finished[t]) continue;
            running = t;
            threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
            swapcontext(&scheduler, &contexts[t]);
            left = left || !finished[t];
        }
    }
}

template <class... A> struct Call { void (*kernel)(A...); void** arguments; };
template <class... A, std::size_t... N> static void call(const Call<A...>& c, std::index_sequence<N...>) {
    c.kernel(*static_cast<std::remove_reference_t<A>*>(c.arguments[N])...);
}
template <class... A> static void launch(void (*kernel)(A...), void** arguments) {
    Call<A...> c{kernel, arguments};
    for (u32 z = 0; z < gridDim.z; ++z) for (u32 y = 0; y < gridDim.y; ++y) for (u32 x = 0; x < gridDim.x; ++x) {
        blockIdx = {x, y, z};
        run_block([](void* p) { call(*static_cast<Call<A...>*>(p), std::index_sequence_for<A...>()); }, &c);
    }
}

// --- intrinsics ----------------------------------------------------------------------------------------------
template <class To, class From> static To as(From x) { To r; static_assert(sizeof r == sizeof x); memcpy(&r, &x, sizeof r); return r; }
static u32 __float_as_uint(f32 x) { return as<u32>(x); }
static f32 __uint_as_float(u32 x) { return as<f32>(x); }
static i64 __double_as_longlong(f64 x) { return as<i64>(x); }
static f64 __longlong_as_double(i64 x) { return as<f64>(x); }
static i32 __popc(u32 x) { i32 n = 0; for (; x; x &= x - 1) ++n; return n; }
static i32 __popcll(u64 x) { return __popc(u32(x)) + __popc(u32(x >> 32)); }
static i32 __clz(i32 x) { i32 n = 32; for (u32 v = u32(x); v; v >>= 1) --n; return n; }
static i32 __clzll(i64 x) { return u64(x) >> 32 ? __clz(i32(u64(x) >> 32)) : 32 + __clz(i32(u32(u64(x)))); }
template <class A, class B> static u32 dot4(u32 x, u32 y, u32 sum) { for (int at = 0; at < 32; at += 8) sum += u32(i32(A(x >> at)) * i32(B(y >> at))); return sum; }
static i32 __dp4a(i32 x, i32 y, i32 sum) { return i32(dot4<i8, i8>(u32(x), u32(y), u32(sum))); }
static u32 __dp4a(u32 x, u32 y, u32 sum) { return dot4<u8, u8>(x, y, sum); }
static f32 __fsqrt_rn(f32 x) { return sqrtf(x); }
static f64 __dsqrt_rn(f64 x) { return sqrt(x); }
static f32 __fmaf_rn(f32 a, f32 b, f32 c) { return fmaf(a, b, c); }
static f64 __fma_rn(f64 a, f64 b, f64 c) { return fma(a, b, c); }
template <class Wide> static f32 toward_zero(Wide x) {
    const f32 f = f32(x);
    if (std::isinf(f) && !std::isinf((long double)x)) return x < 0 ? -3.40282347e38f : 3.40282347e38f;
    return fabsl((long double)f) > fabsl((long double)x) ? nextafterf(f, 0.0f) : f;
}
static f32 __double2float_rz(f64 x) { return x != x ? f32(x) : toward_zero(x); }
static f32 __ll2float_rz(i64 x) { return toward_zero(x); }
static f32 __ull2float_rz(u64 x) { return toward_zero(x); }
template <class To, class From> static To saturated(From x, long double low, long double high) {
    if (x != x) return 0;
    const long double t = truncl((long double)x);
    return t <= low ? To(low) : t >= high ? To(high) : To(t);
}
static i64 __float2ll_rz(f32 x) { return saturated<i64>(x, -0x1p63L, 0x1p63L - 1); }
static u64 __float2ull_rz(f32 x) { return saturated<u64>(x, 0, 0x1p64L - 1); }
template <class T> static T atomicAdd(T* p, T x) { T old = *p; *p = T(std::conditional_t<std::is_same_v<T, i32>, u32, T>(old) + x); return old; }
template <class T> static T atomicSub(T* p, T x) { T old = *p; *p = T(std::conditional_t<std::is_same_v<T, i32>, u32, T>(old) - x); return old; }
template <class T> static T atomicMin(T* p, T x) { T old = *p; if (x < old) *p = x; return old; }
template <class T> static T atomicMax(T* p, T x) { T old = *p; if (x > old) *p = x; return old; }
template <class T> static T atomicAnd(T* p, T x) { T old = *p; *p = old & x; return old; }
template <class T> static T atomicOr(T* p, T x) { T old = *p; *p = old | x; return old; }
template <class T> static T atomicXor(T* p, T x) { T old = *p; *p = old ^ x; return old; }
template <class T> static T atomicExch(T* p, T x) { T old = *p; *p = x; return old; }
template <class T> static T atomicCAS(T* p, T seen, T x) { T old = *p; if (old == seen) *p = x; return old; }

// --- helpers that are PTX on the device --------------------------------------------------------------------------
#define CONVERSIONS(F) \
    static i32 gc_##F##_to_i32(F x) { return saturated<i32>(x, -0x1p31L, 0x1p31L - 1); } \
    static u32 gc_##F##_to_u32(F x) { return saturated<u32>(x, 0, 0x1p32L - 1); } \
    static i64 gc_##F##_to_i64(F x) { return saturated<i64>(x, -0x1p63L, 0x1p63L - 1); } \
    static u64 gc_##F##_to_u64(F x) { return saturated<u64>(x, 0, 0x1p64L - 1); }
CONVERSIONS(f32)
CONVERSIONS(f64)
static i32 gc_wrap_i8(u32 x) { return i32((x & 0xffu) ^ 0x80u) - 0x80; }
static i32 gc_wrap_i16(u32 x) { return i32((x & 0xffffu) ^ 0x8000u) - 0x8000; }
static u32 gc_wrap_u8(u32 x) { return x % 256u; }
static u32 gc_wrap_u16(u32 x) { return x % 65536u; }
static u32 gc_dot4_mixed(u32 x, u32 y, u32 sum) { return dot4<u8, i8>(x, y, sum); }
static i32 gc_abs_i32(i32 x) { return x == INT32_MIN ? x : abs(x); }
static i64 gc_abs_i64(i64 x) { return x == INT64_MIN ? x : llabs(x); }
static i32 gc_narrow_min_i32(i32 a, i32 b) { return b < a ? b : a; }
static i32 gc_narrow_max_i32(i32 a, i32 b) { return b > a ? b : a; }
static u32 gc_narrow_min_u32(u32 a, u32 b) { return b < a ? b : a; }
static u32 gc_narrow_max_u32(u32 a, u32 b) { return b > a ? b : a; }
static i32 gc_guarded_i32(i32 x) { return x; }
static f32 gc_apart_f32(f32 x) { return x; }
static f32 gc_guarded_abs_f32(f32 x) { return __uint_as_float(__float_as_uint(x) & 0x7fffffffu); }
static f64 gc_apart_f64(f64 x) { return x; }
static u32 gc_guarded_u32(u32 x) { return x; }
static u32 gc_guarded_not_u32(u32 x) { return UINT32_MAX - x; }
static u64 gc_guarded_not_u64(u64 x) { return UINT64_MAX - x; }
static u32 gc_guarded_xor(u32 a, u32 b) { return a ^ b; }
static f32 gc_nan_f32() { return as<f32>(0x7fc00000u); }
static f64 gc_nan_f64() { return as<f64>(0x7ff8000000000000ull); }
template <class F> static F lesser(F a, F b) {
    if (a != a || b != b) return a != a ? a : b;
    return a == b ? (std::signbit(a) ? a : b) : a < b ? a : b;
}
template <class F> static F greater(F a, F b) { return -lesser(-a, -b); }
static f32 gc_min_f32(f32 a, f32 b) { return lesser(a, b); }
static f32 gc_max_f32(f32 a, f32 b) { return greater(a, b); }
static f64 gc_min_f64(f64 a, f64 b) { return lesser(a, b); }
static f64 gc_max_f64(f64 a, f64 b) { return greater(a, b); }

// Halves of 10 or 7 bits of mantissa, from and to a double, rounded once.
static f64 half_value(u16 h, int mantissa, int least) {
    const int e = (h & 0x7fff) >> mantissa, top = 0x7fff >> mantissa;
    const f64 m = h & ((1 << mantissa) - 1), sign = h >> 15 ? -1.0 : 1.0;
    if (e == top) return m != 0 ? std::nan("") : sign * INFINITY;
    return sign * (e == 0 ? ldexp(m, least) : ldexp(m + (1 << mantissa), least + e - 1));
}
static u16 half_of(f64 x, int mantissa, int least) {
    const u16 sign = std::signbit(x) ? 0x8000 : 0, top = 0x7fff >> mantissa << mantissa;
    if (x != x) return u16(top | 1 << (mantissa - 1));
    if (std::isinf(x)) return u16(sign | top);
    int e; frexp(x, &e);
    int unit = e - 1 - mantissa;
    if (unit < least || x == 0) unit = least;
    const f64 n = nearbyint(fabs(ldexp(x, -unit)));  // may reach the next power of two, and with it the next exponent
    const u32 bits = u32(unit - least) * (1u << mantissa) + u32(n);
    return u16(sign | (bits >= top ? top : bits));
}
static f32 gc_f16_to_f32(u16 x) { return f32(half_value(x, 10, -24)); }
static u16 gc_f32_to_f16(f32 x) { return half_of(x, 10, -24); }
static u16 gc_f64_to_f16(f64 x) { return half_of(x, 10, -24); }
static u16 gc_f32_to_bf16(f32 x) { return half_of(x, 7, -133); }
static u16 gc_fma_f16(u16 a, u16 b, u16 c) {
    const f64 p = half_value(a, 10, -24) * half_value(b, 10, -24), z = half_value(c, 10, -24);  // p is exact
    f64 s = p + z;
    const f64 back = s - p, lost = (p - (s - back)) + (z - back);
    if (std::isfinite(s) && lost != 0 && !(as<u64>(s) & 1)) s = nextafter(s, lost > 0 ? INFINITY : -INFINITY);  // odd
    return half_of(s, 10, -24);
}

// --- input and output ------------------------------------------------------------------------------------------
static u64 number() { u64 n; if (fread(&n, 8, 1, stdin) != 1) exit(3); return n; }
template <class K> static void run(K kernel) {
    Coordinates* const shape[] = {&gridDim, &blockDim};
    for (Coordinates* c : shape) { c->x = u32(number()); c->y = u32(number()); c->z = u32(number()); }
    // each argument: its bytes, 1 for an array or 0 for a value, and the bytes themselves
    const u64 count = number();
    std::vector<std::vector<u64>> stored(count); std::vector<u64> sizes(count), arrays(count);
    std::vector<void*> pointers(count), arguments(count);
    for (u64 n = 0; n < count; ++n) {
        sizes[n] = number(); arrays[n] = number();
        stored[n].resize(sizes[n] / 8 + 2);
        if (sizes[n] && fread(stored[n].data(), 1, sizes[n], stdin) != sizes[n]) exit(3);
        pointers[n] = stored[n].data();
        arguments[n] = arrays[n] ? static_cast<void*>(&pointers[n]) : pointers[n];
    }
    launch(kernel, arguments.data());
    for (u64 n = 0; n < count; ++n) if (arrays[n]) fwrite(stored[n].data(), 1, sizes[n], stdout);
}
