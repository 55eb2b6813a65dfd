"""C for the host as a dialect: about the least that an author of a backend with a C-like language writes."""

from __future__ import annotations

from gpucore.ir import ThreadIndex, f32
from gpucore.ir.clike import UNARY, Expr, Helper, Library, call, joined, literal, plain_helpers, widened

INTEGERS = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
NATIVE = frozenset(
    f"{op}.{d}"
    for d in INTEGERS
    for op in ("abs", "min", "max", "shl", "shr", "popcount", "clz", "floordiv", "mod")
) | {"div.f32", "div.f64"}
ATOMICS = frozenset(
    f"{op}.{d}"
    for d in ("i32", "u32", "i64", "u64")
    for op in ("add", "sub", "min", "max", "and", "or", "xor", "exchange", "cas")
)
OPERATORS = {"add": "+", "sub": "-", "and": "&", "or": "|", "xor": "^"}
HEADER = """\
#include <stdbool.h>
#include <string.h>
typedef signed char i8; typedef short i16; typedef int i32; typedef long long i64;
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef float f32; typedef double f64;
static u32 gc_thread_id[3], gc_block_id[3], gc_block_dim[3], gc_grid_dim[3];
static f32 gc_as_f32(u32 x) { f32 r; memcpy(&r, &x, 4); return r; }
static f64 gc_as_f64(u64 x) { f64 r; memcpy(&r, &x, 8); return r; }
static u32 gc_bits_f32(f32 x) { u32 r; memcpy(&r, &x, 4); return r; }
static u64 gc_bits_f64(f64 x) { u64 r; memcpy(&r, &x, 8); return r; }
"""


class PlainC:
    """See :class:`gpucore.ir.clike.Dialect`."""

    reserved = frozenset({"memcpy"})
    wide = "ll"
    function = "static"
    function_once = "static __attribute__((noinline))"
    loop_once = loop_unrolled = ""
    table = "static const"
    zeros = "{0}"
    static_shared = 1 << 30
    barrier = "#error a processor's thread waits for no other"
    fence = ";"

    def __init__(self):
        helpers = plain_helpers("static", lambda to, text: self.cast(to, Expr(text)).text)
        self.library = Library(helpers.__getitem__)

    # text
    def header(self, kernel, math, *, halves):
        return HEADER

    def cast(self, to, x):
        return Expr(f"({to})({x.text})", UNARY, x.reads)

    def float_of_bits(self, bits, dtype):
        return f"gc_as_{dtype.name}({bits:#x}{'u' if dtype is f32 else 'ull'})"

    def constant(self, value, dtype):
        return literal(self, value, dtype)

    # declarations
    def kernel(self, name, parameters, threads):
        return f"static void {name}({joined(parameters)}) {{"

    def pointer(self, element, name, *, constant, restrict):
        return f"{'const ' if constant else ''}{element}*{' restrict' if restrict else ''} {name}"

    def shared(self, element, name, size):
        return f"static {element} {name}[{size}];"

    def shared_block(self):
        raise NotImplementedError

    def shared_part(self, element, name, offset):
        raise NotImplementedError

    # operations
    def operation(self, op, dtypes, result, args, constants, arithmetic):
        source = dtypes[0]
        if op == "bitcast.raw" and source.is_float:
            return self.cast(result.name, call(f"gc_bits_{source.name}", *args))
        if op == "bitcast.raw" and result.is_float:
            return self.from_bits(result, self.cast(f"u{result.bits}", args[0]))
        return None

    def count_bits(self, op, x, held):
        long = held in ("i64", "u64")
        bits = self.cast("u64" if long else "u32", x)
        if op == "popcount":
            return call("__builtin_popcountll" if long else "__builtin_popcount", bits)
        count = call("__builtin_clzll" if long else "__builtin_clz", bits)
        return Expr(f"({bits.text} ? {count.text} : {64 if long else 32})", reads=x.reads)

    def widened(self, dtype, stored):
        return widened(self, dtype, stored)

    def from_bits(self, dtype, x):
        return call(f"gc_as_{dtype.name}", x)

    # threads
    def thread_index(self, statement: ThreadIndex, axis, extent):
        known = {name: f"gc_{name}[{axis}]" for name in ("thread_id", "block_id", "block_dim", "grid_dim")}
        text = known.get(statement.kind)
        if text is None:
            text = f"(i64){known['block_id']} * {known['block_dim']} + {known['thread_id']}"
        return self.cast(statement.result.dtype.name, Expr(text))

    def subgroup(self, op, dtype, args):
        raise NotImplementedError

    # memory
    def seen_as(self, address, element, space):
        return f"({element}*)({address})"

    def atomic(self, statement, pointer, operands, arithmetic, *, used):
        d = statement.bits or statement.memory.dtype
        name = f"gc_{getattr(statement, 'op', 'cas')}_{d.name}"
        if not hasattr(statement, "op"):
            body = f"if (old == a) *p = b; return old; }}  // {name}"
            parameters = f"{d.name} a, {d.name} b"
        else:
            u = f"u{d.bits}"
            new = {
                "exchange": "a",
                "min": "a < old ? a : old",
                "max": "a > old ? a : old",
            }.get(statement.op) or f"({d.name})(({u})old {OPERATORS[statement.op]} ({u})a)"
            body, parameters = f"*p = {new}; return old; }}", f"{d.name} a"
        text = f"static {d.name} {name}({d.name}* p, {parameters}) {{ const {d.name} old = *p; {body}"
        self.library.add(name, Helper(text))
        return f"{name}({', '.join([pointer(d.name), *(o.text for o in operands)])})"
