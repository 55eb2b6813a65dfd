"""Every operation and statement becomes valid SPIR-V, with no driver in sight."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gpucore.errors import CompileError
from gpucore.hookspecs import CompileOptions
from gpucore.ir import (
    Atomic,
    AtomicCas,
    Barrier,
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
    Return,
    SetVar,
    Store,
    Subgroup,
    ThreadIndex,
    Value,
    Var,
    While,
    bf16,
    bool_,
    dtype,
    f16,
    f32,
    f64,
    i32,
    i64,
    u32,
    u64,
)
from gpucore.ir.ops import BASELINE, MATH, OPS, SUBGROUP_OPS

KINDS = {
    name: dtype(name)
    for name in ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f16", "f32", "f64", "bool")
}


def kernel(*body, params=(), variables=(), memories=(), functions=(), **fields):
    return Module(
        Function("k", tuple(params), None, tuple(variables), tuple(memories), tuple(body)),
        functions,
        **fields,
    )


def of_key(key):
    """A kernel that does the operation of a key on values loaded from memory."""
    parts = key.split(".")
    raw = len(parts) > 1 and parts[1] == "raw"
    op, kinds = (".".join(parts[:2]), parts[2:]) if raw else (parts[0], parts[1:])
    spec = OPS[op]
    subject = KINDS[kinds[0]]
    if spec.result == "bool":
        out = bool_
    elif spec.result == "i32":
        out = i32
    elif spec.result == "free":
        out = KINDS[kinds[1]]
    else:
        out = subject
    stored = dtype("u8") if subject is bool_ else subject
    x = Memory("x", stored, "global")
    y = Memory("y", dtype("u32") if out is bool_ else out, "global")
    i, flag = Value("i", i32), Value("flag", bool_)
    zero = Value("zero", stored)
    body = [ThreadIndex(i, "global_id", 0), Op(flag, "lt", (i, i)), Const(zero, 0)]
    values = []
    for n in range(spec.arity):
        if op == "select" and n == 0:
            values.append(flag)
            continue
        raw_value = Value(f"v{n}", stored)
        body.append(Load(raw_value, x, (i,)))
        if subject is bool_:
            truth = Value(f"b{n}", bool_)
            body.append(Op(truth, "ne", (raw_value, zero)))
            raw_value = truth
        values.append(raw_value)
    result = Value("r", out)
    body.append(Op(result, op, tuple(values)))
    if out is bool_:
        word = Value("w", u32)
        body.append(Op(word, "cast", (result,)))
        result = word
    body.append(Store(y, (i,), result))
    return kernel(*body, params=(x, y))


def native_keys(target):
    return sorted(BASELINE | target.native | target.fast_native)


def test_every_key_that_a_target_may_claim_is_valid(full_target, validate):
    from gpucore_vulkan.spirv import emit

    wrong = {}
    for key in native_keys(full_target):
        try:
            validate(emit(full_target, of_key(key), CompileOptions()).words)
        except (AssertionError, CompileError) as error:
            wrong[key] = str(error)
    assert not wrong


def test_the_static_target_claims_nothing_that_only_a_probe_can_prove():
    from gpucore_vulkan.device_features.targets import static_target

    target = static_target()
    assert not {
        key for key in target.native if key.startswith(("div", "sqrt", "fma", "cast", "floor", "round"))
    }
    assert {op for key in target.fast_native if (op := key.split(".")[0]) in MATH} <= MATH


def test_float_operations_of_strict_modules_may_not_be_contracted(full_target):
    import gpucore_vulkan as plugin

    text = plugin.render(full_target, of_key("add.f32"), CompileOptions())
    assert text.count("NoContraction") == 1
    fast = of_key("add.f32")
    fast = Module(fast.kernel, math="fast")
    assert "NoContraction" not in plugin.render(full_target, fast, CompileOptions())


def test_denormals_signed_zeros_and_rounding_are_asked_for(full_target):
    import gpucore_vulkan as plugin

    text = plugin.render(full_target, of_key("add.f64"), CompileOptions())
    for mode in ("DenormPreserve 64", "SignedZeroInfNanPreserve 64", "RoundingModeRTE 64"):
        assert f"OpExecutionMode %k {mode}" in text


def test_a_signed_remainder_is_made_of_quotient_and_product(full_target):
    import gpucore_vulkan as plugin

    text = plugin.render(full_target, of_key("rem.raw.i64"), CompileOptions())
    assert "OpSDiv" in text and "OpIMul" in text and "OpSRem" not in text and "OpSMod" not in text


I, N, T = Value("i", i32), Value("n", i32), Value("t", i32)
X, Y = Memory("x", f32, "global"), Memory("y", i32, "global")


def loop_kernel(step, kind=i32):
    """A counted loop with continue, break and a return in nested conditions."""
    start, stop, by, v = (Value(name, kind) for name in ("start", "stop", "by", "v"))
    three, seven, total, more, now, word = (
        Value("three", kind),
        Value("seven", kind),
        Var("total", i32),
        Value("more", i32),
        Value("now", i32),
        Value("word", i32),
    )
    c1, c2, c3 = (Value(f"c{n}", bool_) for n in range(3))
    zero = Value("zero", i32)
    body = (
        Op(c1, "eq", (v, three)),
        If(c1, (Continue(),)),
        Op(c2, "gt", (v, seven)),
        If(c2, (Op(c3, "lt", (I, zero)), If(c3, (Return(),), (Break(),)))),
        GetVar(now, total),
        Op(word, "cast", (v,)) if kind is not i32 else Op(word, "add", (v, zero)),
        Op(more, "add", (now, word)),
        SetVar(total, more),
    )
    given = () if step is None else (Const(by, step),)
    last = Value("last", i32)
    params = (Y, start, stop) if step is not None else (Y, start, stop, by)
    return kernel(
        ThreadIndex(I, "global_id", 0),
        Const(zero, 0),
        Const(three, 3),
        Const(seven, 7),
        SetVar(total, zero),
        *given,
        For(v, start, stop, by, body),
        GetVar(last, total),
        Store(Y, (I,), last),
        params=params,
        variables=(total,),
    )


@pytest.mark.parametrize("kind", [i32, i64], ids=str)
@pytest.mark.parametrize("step", [1, -1, 3, -5, 0, None])
def test_counted_loops_are_valid_for_every_kind_of_step(emitted, step, kind):
    emitted(loop_kernel(step, kind))


def test_a_while_loop_whose_condition_branches_is_valid(emitted):
    v, c, d, one, flag = (
        Var("v", i32),
        Value("c", bool_),
        Value("d", bool_),
        Value("one", i32),
        Var("flag", bool_),
    )
    a, b, e, g = Value("a", i32), Value("b", i32), Value("e", i32), Value("g", bool_)
    header = (
        GetVar(a, v),
        Op(c, "lt", (a, N)),
        SetVar(flag, c),
        If(c, (Op(d, "ne", (a, one)), SetVar(flag, d))),
        GetVar(g, flag),
    )
    emitted(kernel(
        ThreadIndex(I, "global_id", 0), Extent(N, Y, 0), Const(one, 1), SetVar(v, I),
        While(header, g, (GetVar(b, v), Op(e, "add", (b, one)), SetVar(v, e), If(g, (Break(),)))),
        params=(Y,), variables=(v, flag),
    ))  # fmt: skip


def test_branches_that_all_return_leave_no_open_block(emitted):
    c, r = Value("c", bool_), Value("r", i32)
    p = Value("p", i32)
    zero, one = Value("zero", i32), Value("one", i32)
    sign = Function(
        "sign", (p,), i32, (), (),
        (Const(zero, 0), Const(one, 1), Op(c, "lt", (p, zero)), If(c, (Return(zero),), (Return(one),))),
    )  # fmt: skip
    emitted(
        kernel(
            ThreadIndex(I, "global_id", 0),
            Call(r, "sign", (I,)),
            Store(Y, (I,), r),
            params=(Y,),
            functions=(sign,),
        )
    )


def test_float_arithmetic_in_device_functions_is_valid(emitted):
    p, q, r = Value("p", f32), Value("q", f32), Value("r", f32)
    triple = Function("triple", (p,), f32, (), (), (Const(q, 0.0), Op(r, "add", (p, q)), Return(r)))
    for arrays in (1, 30):  # with the arguments pushed and in a buffer
        params = tuple(Memory(f"x{n}", f32, "global") for n in range(arrays))
        body = [ThreadIndex(I, "global_id", 0)]
        for n, x in enumerate(params):
            a, b = Value(f"a{n}", f32), Value(f"b{n}", f32)
            body += [Load(a, x, (I,)), Call(b, "triple", (a,)), Store(x, (I,), b)]
        emitted(kernel(*body, params=params, functions=(triple,)))


def test_memories_of_all_spaces_are_valid(emitted):
    tile = Memory("tile", f32, "shared", 1, (32,))
    scratch = Memory("scratch", f32, "local", 2, (4, 4))
    table = Memory("table", f32, "const", 1, (3,), (1.0, float("nan"), float("-inf")))
    a, b, c = Value("a", f32), Value("b", f32), Value("c", f32)
    emitted(
        kernel(
            ThreadIndex(I, "thread_id", 0),
            InitLocal(scratch),
            Load(a, X, (I,)),
            Store(tile, (I,), a),
            Barrier(),
            Fence(),
            Load(b, tile, (I,)),
            Store(scratch, (I,), b),
            Load(c, table, (I,)),
            Store(X, (I,), c),
            params=(X,),
            memories=(tile, scratch, table),
        )
    )


@pytest.mark.parametrize("kind", [f32, i64, bool_], ids=str)
@pytest.mark.parametrize("again", [False, True], ids=["once", "in a loop"])
@pytest.mark.parametrize("size", [33, 64, 1000])
def test_a_large_local_memory_is_zeroed_by_a_loop(emitted, size, again, kind):
    from gpucore_vulkan.spirv.disassemble import disassemble

    scratch = Memory("scratch", kind, "local", 1, (size,))
    low, high, step = Value("low", i32), Value("high", i32), Value("step", i32)
    held, turn = Value("held", kind), Value("turn", i32)
    body = (InitLocal(scratch), Load(held, scratch, (I,)), Store(scratch, (I,), held))
    looped = (Const(low, 0), Const(high, 3), Const(step, 1), For(turn, low, high, step, body))
    words = emitted(kernel(ThreadIndex(I, "thread_id", 0), *(looped if again else body), memories=(scratch,)))
    found = disassemble(words).split()
    assert found.count("OpLoopMerge") == 1 + again
    assert found.count("OpStore") < 70  # a chunk, what is left over, and what the kernel itself stores


def test_a_large_local_memory_that_a_path_reads_unset_is_zeroed_at_the_start(emitted):
    from gpucore_vulkan.spirv.disassemble import disassemble

    scratch = Memory("scratch", f32, "local", 1, (100,))
    held = Value("held", f32)
    words = emitted(
        kernel(
            ThreadIndex(I, "thread_id", 0), Load(held, scratch, (I,)), InitLocal(scratch), memories=(scratch,)
        )
    )
    assert disassemble(words).split().count("OpLoopMerge") == 2


@pytest.mark.parametrize("space", ["global", "shared"])
@pytest.mark.parametrize("kind", [i32, u32, i64, u64], ids=str)
def test_integer_atomics_are_valid(emitted, kind, space):
    memory = Memory("m", kind, space, 1, (16,) if space == "shared" else ())
    v, e = Value("v", kind), Value("e", kind)
    body = [ThreadIndex(I, "thread_id", 0), Const(v, 3), Const(e, 4)]
    for op in ("add", "sub", "min", "max", "and", "or", "xor", "exchange"):
        body.append(Atomic(Value(f"r_{op}", kind), op, memory, (I,), v))
    body.append(AtomicCas(Value("old", kind), memory, (I,), e, v))
    emitted(
        kernel(
            *body,
            params=(memory,) if space == "global" else (),
            memories=(memory,) if space == "shared" else (),
        )
    )


@pytest.mark.parametrize("space", ["global", "shared"])
@pytest.mark.parametrize("kind", [f32, f64], ids=str)
def test_float_elements_are_swapped_through_their_bits(emitted, kind, space):
    word = u32 if kind is f32 else u64
    memory = Memory("m", kind, space, 1, (16,) if space == "shared" else ())
    old, want, value = Value("old", word), Value("want", word), Value("value", kind)
    emitted(
        kernel(
            ThreadIndex(I, "thread_id", 0),
            Load(value, memory, (I,)),
            Op(want, "bitcast.raw", (value,)),
            AtomicCas(old, memory, (I,), want, want, word),
            Atomic(Value("x", word), "exchange", memory, (I,), want, word),
            Atomic(Value("sum", kind), "add", memory, (I,), value),
            Store(memory, (I,), value),
            params=(memory,) if space == "global" else (),
            memories=(memory,) if space == "shared" else (),
        )
    )


@pytest.mark.parametrize("kind", [i32, u32, i64, u64, f32, f64], ids=str)
def test_subgroup_operations_are_valid(emitted, kind):
    memory = Memory("m", kind, "global")
    v, c, lane = Value("v", kind), Value("c", bool_), Value("lane", i32)
    body = [ThreadIndex(I, "thread_id", 0), Load(v, memory, (I,)), Op(c, "eq", (v, v)), Const(lane, 3)]
    for op, arity in SUBGROUP_OPS.items():
        if op in ("size", "lane"):
            body.append(Subgroup(Value(op, i32), op, ()))
        elif op in ("any", "all", "ballot"):
            body.append(Subgroup(Value(op, u64 if op == "ballot" else bool_), op, (c,)))
        else:
            body.append(Subgroup(Value(op, kind), op, (v, lane) if arity == 2 else (v,)))
            if arity == 2:
                body.append(Subgroup(Value(f"{op}_bool", bool_), op, (c, lane)))
    for width in (8, 32, 64):
        emitted(kernel(*body, params=(memory,), subgroup=width))


def test_many_arguments_go_through_a_buffer(full_target, validate):
    from gpucore_vulkan.spirv import emit

    arrays = tuple(Memory(f"a{n}", f32, "global", 2) for n in range(20))
    body = [ThreadIndex(I, "global_id", 0)]
    for n, array in enumerate(arrays):
        value, extent = Value(f"v{n}", f32), Value(f"e{n}", i64)
        body += [Extent(extent, array, 1), Load(value, array, (I,)), Store(array, (I,), value)]
    made = emit(full_target, kernel(*body, params=arrays), CompileOptions())
    assert made.indirect
    validate(made.words)
    few = emit(full_target, kernel(*body[:4], params=arrays[:1]), CompileOptions())
    assert not few.indirect


def test_extents_that_are_not_read_take_no_room():
    from gpucore_vulkan.spirv.layout import argument_layout

    x = Memory("x", f32, "global", 3)
    layout = argument_layout(kernel(Extent(N, x, 1), params=(x, Value("flag", bool_), Value("d", f64))))
    assert [(f.kind, f.parameter, f.offset) for f in layout.fields] == [
        ("pointer", 0, 0), ("scalar", 2, 8), ("extent", 0, 16), ("scalar", 1, 20),
    ]  # fmt: skip
    assert (layout.size, layout.ranks) == (24, (3, None, None))


def test_rendering_names_what_the_user_named(full_target):
    import gpucore_vulkan as plugin

    text = plugin.render(full_target, of_key("add.f32"), CompileOptions())
    assert 'OpName %k "k"' in text and 'OpMemberName %Arguments 0 "x"' in text
    assert "OpFAdd %float" in text


def test_debug_information_points_into_the_users_file(full_target, validate):
    from gpucore_vulkan.spirv import emit
    from gpucore_vulkan.spirv.disassemble import disassemble

    module = kernel(
        Const(Value("c", i32), 3), ThreadIndex(I, "global_id", 0, loc=Loc("model.py", 7, 4)), params=(Y,)
    )
    words = emit(full_target, module, CompileOptions(debug=True)).words
    validate(words)
    assert '"model.py"' in disassemble(words)


def test_emitting_is_a_pure_function(full_target):
    from gpucore_vulkan.spirv import emit

    module = loop_kernel(3)
    assert emit(full_target, module, CompileOptions()) == emit(full_target, module, CompileOptions())


def test_bf16_values_are_refused(full_target):
    import gpucore_vulkan as plugin

    x = Memory("x", bf16, "global")
    with pytest.raises(CompileError, match="bf16"):
        plugin.compile(
            full_target, kernel(ThreadIndex(I, "global_id", 0), Load(Value("v", bf16), x, (I,)), params=(x,)),
            CompileOptions(),
        )  # fmt: skip


def test_halves_are_loaded_and_stored_as_such(emitted):
    x = Memory("x", f16, "global")
    v, wide, back = Value("v", f16), Value("wide", f32), Value("back", f16)
    emitted(kernel(
        ThreadIndex(I, "global_id", 0), Load(v, x, (I,)), Op(wide, "cast", (v,)), Op(back, "cast", (wide,)),
        Store(x, (I,), back), params=(x,),
    ))  # fmt: skip


def test_words_that_are_not_spirv_are_refused():
    from gpucore_vulkan.spirv.disassemble import disassemble

    for words in (
        b"",
        b"\0" * 20,
        b"\x03\x02\x23\x07" + b"\0" * 17,
        b"\x03\x02\x23\x07" + b"\0" * 16 + b"\1\0\x09\0",
    ):
        with pytest.raises(CompileError):
            disassemble(words)


def test_rendering_loads_no_driver():
    code = (
        "import sys, gpucore_vulkan as p\n"
        "from gpucore.hookspecs import CompileOptions\n"
        "from gpucore_vulkan.routines import fill_module\n"
        "assert 'OpCapability' in p.render(p.target(None), fill_module(64), CompileOptions())\n"
        "assert p.compile(p.target(None), fill_module(8), CompileOptions()).format == 'spirv'\n"
        "assert '_gpucore_vulkan_headers' not in sys.modules and 'vulkan' not in sys.modules\n"
        "from gpucore_vulkan import loader\n"
        "assert loader._binding.cache_info().currsize == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
