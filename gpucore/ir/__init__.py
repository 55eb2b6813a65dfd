"""The intermediate representation: see :mod:`gpucore.ir.nodes` for the nodes and the two levels."""

from gpucore.ir.dtypes import (
    DType,
    bf16,
    bool_,
    dtype,
    f16,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    index,
    u8,
    u16,
    u32,
    u64,
)
from gpucore.ir.nodes import (
    IR_VERSION,
    Allocate,
    Assert,
    Atomic,
    AtomicCas,
    Barrier,
    Block,
    Break,
    Call,
    Const,
    Continue,
    Extent,
    Fence,
    For,
    Function,
    GetVar,
    If,
    InitLocal,
    Load,
    Loc,
    Memory,
    Module,
    Op,
    Print,
    Return,
    SetVar,
    Stmt,
    Store,
    Subgroup,
    ThreadIndex,
    TileProduct,
    Value,
    Var,
    While,
    blocks_of,
    memories_of,
    operands_of,
    result_of,
    walk,
    written_arrays,
)

IRModule = Module
"""The name under which ``gpucore`` exports it, beside :class:`gpucore.Module`, native kernels."""

__all__ = [
    "IR_VERSION", "Allocate", "Assert", "Atomic", "AtomicCas", "Barrier", "Block", "Break", "Call", "Const", "Continue",
    "DType", "Extent", "Fence", "For", "Function", "GetVar", "IRModule", "If", "InitLocal", "Load", "Loc", "Memory", "Module",
    "Op", "Print", "Return", "SetVar", "Stmt", "Store", "Subgroup", "ThreadIndex", "TileProduct", "Value", "Var",
    "While", "bf16",
    "blocks_of", "bool_", "dtype", "f16", "f32", "f64", "i8", "i16", "i32", "i64", "index", "memories_of", "operands_of",
    "parse", "result_of", "u8", "u16", "u32", "u64", "walk", "written_arrays",
]  # fmt: skip


def __getattr__(name: str) -> object:
    # parse is not needed to define a kernel; importing gpucore stays cheap without it
    if name == "parse":
        from gpucore.ir.text import parse

        return parse
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
