"""Low-level modules on the device against the interpreter, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from gpucore.errors import LaunchError
from gpucore.ir import (
    Atomic,
    AtomicCas,
    Barrier,
    Break,
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
    bool_,
    dtype,
    f32,
    f64,
    i32,
    i64,
    u32,
    u64,
)
from gpucore.ir.interpreter import interpret

I, N, T = Value("i", i32), Value("n", i32), Value("t", i32)


def kernel(*body, params=(), variables=(), memories=(), functions=(), **fields):
    return Module(
        Function("k", tuple(params), None, tuple(variables), tuple(memories), tuple(body)),
        functions,
        **fields,
    )


def same(bench, module, grid, block, args, width=None, races=True):
    """Run on the device and on the interpreter, compare every bit."""
    width = width or bench.device.physical.subgroup_sizes[0]
    expected = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    interpret(module, grid, block, expected, subgroup_size=width, detect_races=races)
    found = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    bench.run(module, grid, block, found)
    for wanted, got in zip(expected, found, strict=True):
        if isinstance(wanted, np.ndarray):
            if wanted.dtype.kind == "f":
                assert np.array_equal(np.isnan(wanted), np.isnan(got))
                keep = ~np.isnan(wanted)
                wanted, got = wanted[keep], got[keep]
            np.testing.assert_array_equal(wanted.view(np.uint8), got.view(np.uint8))
    return found


def test_scalars_of_every_type_arrive(bench):
    kinds = ["bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"]
    values = [True, -7, -3000, -(2**31), -(2**63), 200, 60000, 2**32 - 1, 2**64 - 1, 0.1, 0.1]
    scalars = [Value(f"s_{k}", dtype(k)) for k in kinds]
    outs = [Memory(f"o_{k}", dtype("u8") if k == "bool" else dtype(k), "global") for k in kinds]
    body = [ThreadIndex(I, "global_id", 0)]
    for scalar, out in zip(scalars, outs, strict=True):
        value = scalar
        if scalar.dtype is bool_:
            value = Value("byte", dtype("u8"))
            body.append(Op(value, "cast", (scalar,)))
        body.append(Store(out, (I,), value))
    args = [x for pair in zip([np.zeros(1, o.dtype.numpy) for o in outs], values, strict=True) for x in pair]
    params = [x for pair in zip(outs, scalars, strict=True) for x in pair]
    found = same(bench, kernel(*body, params=params), (1,), (1,), args)
    assert found[0][0] == 1 and found[-2][0] == 0.1


def test_a_scalar_that_rounds_to_infinity_is_infinity(bench):
    out, a = Memory("out", f32, "global"), Value("a", f32)
    module = kernel(ThreadIndex(I, "global_id", 0), Store(out, (I,), a), params=(out, a))
    found = [np.zeros(1, np.float32), 1e300]
    bench.run(module, (1,), (1,), found)
    assert found[0][0] == np.inf


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_coordinates_follow_array_order(bench, ndim):
    kinds = ["global_id", "thread_id", "block_id", "block_dim", "grid_dim"]
    block, grid = (2, 3, 4)[:ndim], (5, 1, 3)[:ndim]
    outs = [Memory(f"{k}{a}", i32, "global") for k in kinds for a in range(ndim)]
    body, place = [], None
    for axis in range(ndim):
        g = Value(f"g{axis}", i32)
        body.append(ThreadIndex(g, "global_id", axis))
        if place is None:
            place = g
        else:
            extent, dim, scaled, sum_ = (Value(f"{w}{axis}", i32) for w in ("grid", "dim", "scaled", "sum"))
            total = Value(f"total{axis}", i32)
            body += [
                ThreadIndex(extent, "grid_dim", axis),
                ThreadIndex(dim, "block_dim", axis),
                Op(total, "mul", (extent, dim)),
                Op(scaled, "mul", (place, total)),
                Op(sum_, "add", (scaled, g)),
            ]
            place = sum_
    for n, out in enumerate(outs):
        value = Value(f"v{n}", i32)
        body += [ThreadIndex(value, kinds[n // ndim], n % ndim), Store(out, (place,), value)]
    count = int(np.prod(block) * np.prod(grid))
    same(bench, kernel(*body, params=outs, ndim=ndim), grid, block, [np.zeros(count, np.int32) for _ in outs])


def test_a_tile_is_turned_around_in_shared_memory(bench):
    x = Memory("x", f32, "global")
    tile = Memory("tile", f32, "shared", 1, (64,))
    v, w, last, back = Value("v", f32), Value("w", f32), Value("last", i32), Value("back", i32)
    module = kernel(
        ThreadIndex(I, "global_id", 0),
        ThreadIndex(T, "thread_id", 0),
        Load(v, x, (I,)),
        Store(tile, (T,), v),
        Barrier(),
        Const(last, 63),
        Op(back, "sub", (last, T)),
        Load(w, tile, (back,)),
        Barrier(),
        Store(x, (I,), w),
        params=(x,),
        memories=(tile,),
    )
    same(bench, module, (5,), (64,), [np.random.default_rng(0).standard_normal(320).astype(np.float32)])


@pytest.mark.parametrize("kind", [i32, u32, i64, u64], ids=str)
@pytest.mark.parametrize("op", ["add", "sub", "min", "max", "and", "or", "xor", "exchange"])
def test_atomics_in_global_and_shared_memory(bench, kind, op):
    x, y = Memory("x", kind, "global"), Memory("y", kind, "global")
    tile = Memory("tile", kind, "shared", 1, (4,))
    v, w, r, four, s, start = (
        Value("v", kind),
        Value("w", kind),
        Value("r", kind),
        Value("four", i32),
        Value("s", i32),
        Value("start", kind),
    )
    head, c = Value("head", bool_), Value("c", kind)
    if op == "exchange":  # the order would show, unless all write the same
        value = [Const(v, 5)]
    else:
        value = [Load(v, x, (I,))]
    module = kernel(
        ThreadIndex(I, "global_id", 0),
        ThreadIndex(T, "thread_id", 0),
        Const(four, 4),
        Op(head, "lt", (T, four)),
        If(head, (Const(start, 77), Store(tile, (T,), start))),
        Barrier(),
        *value,
        Const(N, 3),
        Op(s, "and", (T, N)),
        Atomic(r, op, y, (s,), v),
        Atomic(w, op, tile, (s,), v),
        Barrier(),
        If(head, (Load(c, tile, (T,)), Store(x, (I,), c))),
        params=(x, y),
        memories=(tile,),
    )
    random = np.random.default_rng(1)
    info = np.iinfo(kind.numpy)
    data = random.integers(info.min, info.max, 64, dtype=kind.numpy, endpoint=True)
    same(bench, module, (1,), (64,), [data, np.arange(4, dtype=kind.numpy) + 60], races=False)


def test_a_float_sum_built_of_compare_and_swap(bench):
    """What core makes of a float atomic that the device lacks: through the element's bits, in shared memory
    too."""
    y = Memory("y", f64, "global")
    tile = Memory("tile", f32, "shared", 1, (1,))
    out = Memory("out", f32, "global")
    zero, flag, v, w = Value("zero", i32), Var("flag", bool_), Value("v", f64), Value("w", f32)
    first, c, yes, no, zf = (
        Value("first", bool_),
        Value("c", bool_),
        Value("yes", bool_),
        Value("no", bool_),
        Value("zf", f32),
    )

    def swap(memory, kind, word, value, name):
        old, bits, sum_, new, got, same_ = (
            Value(f"{name}_{n}", k)
            for n, k in zip(
                ("old", "bits", "sum", "new", "got", "same"),
                (kind, word, kind, word, word, bool_),
                strict=True,
            )
        )
        again, done = Value(f"{name}_again", bool_), Value(f"{name}_done", bool_)
        return (
            SetVar(flag, yes),
            While(
                (GetVar(again, flag),),
                again,
                (
                    Load(old, memory, (zero,)),
                    Op(bits, "bitcast.raw", (old,)),
                    Op(sum_, "add", (old, value)),
                    Op(new, "bitcast.raw", (sum_,)),
                    AtomicCas(got, memory, (zero,), bits, new, word),
                    Op(same_, "eq", (got, bits)),
                    Op(done, "not", (same_,)),
                    SetVar(flag, done),
                ),
            ),
        )

    total = Value("total", f32)
    module = kernel(
        ThreadIndex(T, "thread_id", 0),
        Const(zero, 0),
        Const(yes, True),
        Const(no, False),
        Const(v, 0.5),
        Const(w, 0.25),
        Const(zf, 0.0),
        Op(first, "eq", (T, zero)),
        If(first, (Store(tile, (zero,), zf),)),
        Barrier(),
        *swap(y, f64, u64, v, "a"),
        *swap(tile, f32, u32, w, "b"),
        Barrier(),
        Op(c, "eq", (T, zero)),
        If(c, (Load(total, tile, (zero,)), Store(out, (zero,), total))),
        params=(y, out),
        memories=(tile,),
        variables=(flag,),
    )
    found = [np.zeros(1), np.zeros(1, np.float32)]
    bench.run(module, (4,), (32,), found)
    assert found[0][0] == 64.0 and found[1][0] == 8.0


@pytest.mark.parametrize("kind", [i32, i64], ids=str)
@pytest.mark.parametrize(
    ("start", "stop", "step"),
    [
        (0, 10, 1),
        (10, 0, -1),
        (0, 10, 3),
        (10, -1, -4),
        (5, 5, 1),
        (5, 4, 2),
        (0, 10, 0),
        (-5, 5, -1),
        ("max-2", "max", 1),
        ("max-5", "max-1", 2),
        ("min+5", "min+1", -2),
        ("min+1", "min", -1),
        ("min", 0, "half"),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["constant step", "step at run time"])
def test_counted_loops_run_as_range_does(bench, kind, start, stop, step, known):
    bounds = {"max": 2 ** (kind.bits - 1) - 1, "min": -(2 ** (kind.bits - 1)), "half": 2 ** (kind.bits - 2)}

    def number(text):
        if isinstance(text, int):
            return text
        for name, value in bounds.items():
            if text.startswith(name):
                return value + int(text[len(name) :] or 0)
        raise AssertionError(text)

    begin, end, by = number(start), number(stop), number(step)
    out = Memory("out", kind, "global")
    a, b, s, v = (Value(n, kind) for n in "absv")
    count, now, more, one = Var("count", i32), Value("now", i32), Value("more", i32), Value("one", i32)
    zero, last = Value("zero", i32), Value("last", i32)
    wide = Value("wide", kind)
    module = kernel(
        ThreadIndex(I, "global_id", 0),
        Const(zero, 0),
        Const(one, 1),
        SetVar(count, zero),
        *([Const(s, by)] if known else []),
        For(
            v,
            a,
            b,
            s,
            (GetVar(now, count), Store(out, (now,), v), Op(more, "add", (now, one)), SetVar(count, more)),
        ),
        GetVar(last, count),
        Op(wide, "cast", (last,)) if kind is not i32 else Op(wide, "add", (last, zero)),
        Store(out, (last,), wide),
        params=(out, a, b) if known else (out, a, b, s),
        variables=(count,),
    )
    found = [np.full(16, -77, kind.numpy), begin, end] + ([] if known else [by])
    bench.run(module, (1,), (1,), found)
    expected = list(range(begin, end, by)) if by else []
    expected.append(len(expected))
    assert found[0][: len(expected)].tolist() == expected
    assert (found[0][len(expected) :] == -77).all()


def test_continue_break_and_return_leave_loops_where_they_should(bench):
    out, limit = Memory("out", i32, "global"), Value("limit", i32)
    v, zero, one, two, eight = (Value(n, i32) for n in ("v", "zero", "one", "two", "eight"))
    total, now, more, last, odd = (
        Var("total", i32),
        Value("now", i32),
        Value("more", i32),
        Value("last", i32),
        Value("odd", i32),
    )
    c1, c2, c3 = Value("c1", bool_), Value("c2", bool_), Value("c3", bool_)
    body = (
        Op(odd, "and", (v, one)),
        Op(c1, "eq", (odd, one)),
        If(c1, (Continue(),)),
        Op(c2, "gt", (v, eight)),
        If(c2, (Op(c3, "eq", (I, two)), If(c3, (Return(),), (Break(),)))),
        GetVar(now, total),
        Op(more, "add", (now, v)),
        SetVar(total, more),
    )
    module = kernel(
        ThreadIndex(I, "global_id", 0),
        Const(zero, 0),
        Const(one, 1),
        Const(two, 2),
        Const(eight, 8),
        SetVar(total, zero),
        For(v, I, limit, one, body),
        GetVar(last, total),
        Store(out, (I,), last),
        params=(out, limit),
        variables=(total,),
    )
    same(bench, module, (2,), (4,), [np.full(8, -1, np.int32), 20])


def test_local_arrays_are_fresh_in_every_iteration(bench):
    out = Memory("out", i32, "global")
    scratch = Memory("scratch", i32, "local", 1, (4,))
    v, zero, one, three = (Value(n, i32) for n in ("v", "zero", "one", "three"))
    a, b = Value("a", i32), Value("b", i32)
    module = kernel(
        ThreadIndex(I, "global_id", 0),
        Const(zero, 0),
        Const(one, 1),
        Const(three, 3),
        For(
            v,
            zero,
            three,
            one,
            (InitLocal(scratch), Load(a, scratch, (v,)), Op(b, "add", (a, one)), Store(scratch, (v,), b)),
        ),
        Load(Value("last", i32), scratch, (one,)),
        Store(out, (I,), Value("last", i32)),
        params=(out,),
        memories=(scratch,),
    )
    found = same(bench, module, (1,), (4,), [np.full(4, 9, np.int32)])
    assert (found[0] == 0).all()


def test_tables_of_constants_hold_their_values(bench):
    table = Memory("table", f64, "const", 1, (4,), (0.1, -0.0, float("inf"), 5e-324))
    out, v = Memory("out", f64, "global"), Value("v", f64)
    module = kernel(
        ThreadIndex(I, "global_id", 0),
        Load(v, table, (I,)),
        Store(out, (I,), v),
        params=(out,),
        memories=(table,),
    )
    same(bench, module, (1,), (4,), [np.zeros(4)])


def subgroup_module(kind, width=None):
    x, m = Memory("x", kind, "global"), Memory("m", i32, "global")
    v, lane, c, two = Value("v", kind), Value("other", i32), Value("c", bool_), Value("two", i32)
    body = [
        ThreadIndex(I, "global_id", 0),
        Load(v, x, (I,)),
        Load(lane, m, (I,)),
        Const(two, 2),
        Op(c, "lt", (lane, two)),
    ]
    outs = []

    def out(name, k, value):
        memory = Memory(f"out_{name}", k, "global")
        outs.append(memory)
        body.append(Store(memory, (I,), value))

    for op in ("sum", "min", "max", "inclusive_sum", "exclusive_sum"):
        r = Value(op, kind)
        body.append(Subgroup(r, op, (v,)))
        out(op, kind, r)
    for op in ("any", "all"):
        r, word = Value(op, bool_), Value(f"{op}_word", u32)
        body += [Subgroup(r, op, (c,)), Op(word, "cast", (r,))]
        out(op, u32, word)
    r = Value("ballot", u64)
    body.append(Subgroup(r, "ballot", (c,)))
    out("ballot", u64, r)
    for op in ("shuffle", "shuffle_xor"):
        r = Value(op, kind)
        body.append(Subgroup(r, op, (v, lane)))
        out(op, kind, r)
    r = Value("broadcast", kind)
    body.append(Subgroup(r, "broadcast", (v, two)))
    out("broadcast", kind, r)
    for op in ("size", "lane"):
        r = Value(op, i32)
        body.append(Subgroup(r, op, ()))
        out(op, i32, r)
    return kernel(*body, params=(x, m, *outs), subgroup=width), outs


@pytest.mark.parametrize("kind", [i32, u32, i64, u64, f32, f64], ids=str)
@pytest.mark.parametrize("threads", [1, 5, 8, 13, 32, 61, 64, 100])
def test_subgroup_operations_give_the_bits_of_the_definition(bench, kind, threads):
    module, outs = subgroup_module(kind)
    random = np.random.default_rng(threads)
    if kind.is_float:
        data = (random.standard_normal(2 * threads) * np.exp2(random.integers(-20, 20, 2 * threads))).astype(
            kind.numpy
        )
        data[random.integers(0, data.size, 3)] = [0.0, -0.0, 1.0]
        data[:2] = -0.0
        if threads == 61:
            data[40] = np.nan
    else:
        info = np.iinfo(kind.numpy)
        data = random.integers(info.min, info.max, 2 * threads, dtype=kind.numpy, endpoint=True)
    lanes = random.integers(-3, 40, 2 * threads).astype(np.int32)
    same(
        bench, module, (2,), (threads,), [data, lanes, *(np.zeros(2 * threads, o.dtype.numpy) for o in outs)]
    )


def test_subgroups_in_blocks_of_several_axes_are_numbered_linearly(bench):
    out, lanes = Memory("out", i32, "global"), Memory("lanes", i32, "global")
    y, x, lane, sum_, place, width = (Value(n, i32) for n in ("y", "x", "lane", "sum", "place", "width"))
    row = Value("row", i32)
    module = kernel(
        ThreadIndex(y, "thread_id", 0),
        ThreadIndex(x, "thread_id", 1),
        Const(width, 6),
        Op(row, "mul", (y, width)),
        Op(place, "add", (row, x)),
        Subgroup(lane, "lane", ()),
        Subgroup(sum_, "sum", (place,)),
        Store(out, (place,), sum_),
        Store(lanes, (place,), lane),
        params=(out, lanes),
        ndim=2,
    )
    same(bench, module, (1, 1), (5, 6), [np.zeros(30, np.int32), np.zeros(30, np.int32)])


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_grids_past_the_devices_limit_are_folded(bench, ndim, monkeypatch):
    """Every block once, ids and extents as if the device had no limit, none of the extra blocks showing."""
    from dataclasses import replace

    device = bench.device
    monkeypatch.setattr(device, "physical", replace(device.physical, group_counts=(7, 65535, 65535)))
    grid = (2, 3, 23)[3 - ndim :]
    hits, dims = Memory("hits", i32, "global"), Memory("dims", i32, "global")
    one, r, gx, place = Value("one", i32), Value("r", i32), Value("gx", i32), None
    body = [Const(one, 1)]
    for axis in range(ndim):
        b = Value(f"b{axis}", i32)
        body.append(ThreadIndex(b, "block_id", axis))
        if place is None:
            place = b
        else:
            extent, scaled, total = Value(f"e{axis}", i32), Value(f"s{axis}", i32), Value(f"t{axis}", i32)
            body += [
                Const(extent, grid[axis]),
                Op(scaled, "mul", (place, extent)),
                Op(total, "add", (scaled, b)),
            ]
            place = total
    body += [
        Atomic(r, "add", hits, (place,), one),
        ThreadIndex(gx, "grid_dim", ndim - 1),
        Store(dims, (place,), gx),
        Barrier(),
    ]
    count = int(np.prod(grid))
    found = [np.zeros(count, np.int32), np.zeros(count, np.int32)]
    bench.run(kernel(*body, params=(hits, dims), ndim=ndim), grid, (1,) * (ndim - 1) + (4,), found)
    assert (found[0] == 4).all() and (found[1] == grid[-1]).all()


def test_a_grid_past_65535_blocks_runs_whole(bench):
    out = Memory("out", i32, "global")
    module = kernel(
        ThreadIndex(I, "global_id", 0), Extent(N, out, 0), Op(Value("c", bool_), "lt", (I, N)),
        If(Value("c", bool_), (Store(out, (I,), I),)), params=(out,),
    )  # fmt: skip
    count = 65535 * 4 + 5000
    found = [np.full(count, -1, np.int32)]
    bench.run(module, (count // 2 + 1,), (2,), found)
    np.testing.assert_array_equal(found[0], np.arange(count, dtype=np.int32))


def test_ids_are_computed_in_64_bits_where_asked(bench):
    out = Memory("out", i64, "global")
    i, b, wide = Value("i64", i64), Value("b", i64), Value("n64", i64)
    module = kernel(
        ThreadIndex(i, "global_id", 0),
        ThreadIndex(b, "block_id", 0),
        Extent(wide, out, 0),
        Store(out, (i,), wide),
        params=(out,),
    )
    found = [np.zeros(12, np.int64)]
    bench.run(module, (3,), (4,), found)
    assert (found[0] == 12).all()


def test_many_arguments_arrive_through_the_argument_buffer(bench):
    count = 40
    arrays = [Memory(f"a{n}", i32, "global") for n in range(count)]
    scalars = [Value(f"s{n}", i64) for n in range(count)]
    body = [ThreadIndex(I, "global_id", 0)]
    for n in range(count):
        narrow = Value(f"v{n}", i32)
        body += [Op(narrow, "cast", (scalars[n],)), Store(arrays[n], (I,), narrow)]
    module = kernel(*body, params=(*arrays, *scalars))
    args = [np.zeros(4, np.int32) for _ in arrays] + list(range(100, 100 + count))
    for _ in range(3):
        found = same(bench, module, (1,), (4,), args)
    assert found[7].tolist() == [107] * 4


def test_arrays_of_no_elements_have_no_address(bench):
    import gpucore_vulkan as plugin
    from gpucore.hookspecs import CompileOptions, LaunchConfig

    x, out, n = Memory("x", i32, "global"), Memory("out", i32, "global"), Value("n", i32)
    module = kernel(ThreadIndex(I, "global_id", 0), Extent(n, x, 0), Store(out, (I,), n), params=(x, out))
    device = bench.device
    executable = plugin.load(device, plugin.compile(bench.target, module, CompileOptions()))
    result = np.full(1, 5, np.int32)
    piece = bench.upload(result)
    plugin.launch(device, executable, LaunchConfig((1,), (1,)), bench.stream, (None, 0, 0, piece, 0, 1))
    bench.download(piece, result)
    assert result[0] == 0
    plugin.free(device, piece, None)
    plugin.unload(device, executable)


def test_a_bound_launch_keeps_its_arguments(bench):
    import gpucore_vulkan as plugin
    from gpucore.hookspecs import CompileOptions, LaunchConfig

    out, a, r = Memory("out", i32, "global"), Value("a", i32), Value("r", i32)
    module = kernel(ThreadIndex(I, "global_id", 0), Atomic(r, "add", out, (I,), a), params=(out, a))
    device = bench.device
    executable = plugin.load(device, plugin.compile(bench.target, module, CompileOptions()))
    result = np.zeros(4, np.int32)
    piece = bench.upload(result)
    call = plugin.prepare(device, executable, LaunchConfig((1,), (4,))).bind(piece, 0, 4, 3)
    for _ in range(50):
        call(bench.stream)
    bench.download(piece, result)
    assert (result == 150).all()
    plugin.free(device, piece, None)
    plugin.unload(device, executable)


def test_launches_that_the_device_cannot_run_are_refused(bench):
    out = Memory("out", i32, "global")
    module = kernel(ThreadIndex(I, "global_id", 0), Store(out, (I,), I), params=(out,))
    with pytest.raises(LaunchError, match="threads|along"):
        bench.run(module, (1,), (bench.device.physical.invocations + 1,), [np.zeros(4, np.int32)])
    tile = Memory("tile", i32, "shared", 1, (bench.device.physical.shared_memory // 4 + 1,))
    large = kernel(ThreadIndex(I, "thread_id", 0), Store(tile, (I,), I), params=(out,), memories=(tile,))
    with pytest.raises(LaunchError, match="shared memory"):
        bench.run(large, (1,), (4,), [np.zeros(4, np.int32)])


def test_a_fence_publishes_what_was_written_before_a_flag(bench):
    """Every block writes, fences and counts; the last to count sees all."""
    data, counter, out = (
        Memory("data", i32, "global"),
        Memory("counter", i32, "global"),
        Memory("out", i32, "global"),
    )
    one, old, groups, last, zero = (Value(n, i32) for n in ("one", "old", "groups", "last", "zero"))
    c, v, sum_, x, more, done = (
        Value("c", bool_),
        Value("v", i32),
        Var("sum", i32),
        Value("x", i32),
        Value("more", i32),
        Value("done", i32),
    )
    seven = Value("seven", i32)
    module = kernel(
        ThreadIndex(I, "global_id", 0),
        Const(one, 1),
        Const(zero, 0),
        Const(seven, 7),
        ThreadIndex(groups, "grid_dim", 0),
        Store(data, (I,), seven),
        Fence(),
        Atomic(old, "add", counter, (zero,), one),
        Op(last, "sub", (groups, one)),
        Op(c, "eq", (old, last)),
        SetVar(sum_, zero),
        If(
            c,
            (
                Fence(),
                For(
                    v,
                    zero,
                    groups,
                    one,
                    (Load(x, data, (v,)), GetVar(done, sum_), Op(more, "add", (done, x)), SetVar(sum_, more)),
                ),
                GetVar(Value("all", i32), sum_),
                Store(out, (zero,), Value("all", i32)),
            ),
        ),
        params=(data, counter, out),
        variables=(sum_,),
    )
    found = [np.zeros(300, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32)]
    bench.run(module, (300,), (1,), found)
    assert found[2][0] == 2100


# --- faults of drivers that were met, each found by random kernels --------------------------------------
@pytest.mark.parametrize("kind", [f32, f64], ids=str)
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
def test_arithmetic_with_constant_zeros_keeps_signs_infinities_and_nan(bench, op, kind):
    """llvmpipe folds ``0 * x`` to 0 and ``0 + x`` to x."""
    if op == "div" and f"div.{kind.name}" not in bench.target.native:
        pytest.skip("division is not left to this device")
    x = Memory("x", kind, "global")
    a, i = Value("a", kind), Value("i", i32)
    outs, body = [], [ThreadIndex(i, "global_id", 0), Load(a, x, (i,))]
    for n, number in enumerate((0.0, -0.0, 1.0, -1.0, float("inf"))):
        c = Value(f"c{n}", kind)
        body.append(Const(c, number))
        for side in range(2):
            out, r = Memory(f"o{n}{side}", kind, "global"), Value(f"r{n}{side}", kind)
            outs.append(out)
            body += [Op(r, op, (c, a) if side else (a, c)), Store(out, (i,), r)]
    data = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, 3e38], kind.numpy)
    found = [data.copy(), *(np.zeros_like(data) for _ in outs)]
    bench.run(kernel(*body, params=(x, *outs)), (1,), (data.size,), found)
    functions = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    with np.errstate(all="ignore"):
        for n, number in enumerate((0.0, -0.0, 1.0, -1.0, float("inf"))):
            c = np.full_like(data, number)
            for side in range(2):
                wanted = functions[op](c, data) if side else functions[op](data, c)
                got = found[1 + 2 * n + side]
                same_ = (wanted.view(f"u{wanted.itemsize}") == got.view(f"u{got.itemsize}")) | (
                    np.isnan(wanted) & np.isnan(got)
                )
                assert same_.all(), (number, side, data[~same_], got[~same_], wanted[~same_])


@pytest.mark.parametrize("kind", ["i8", "i16", "i32", "u8", "u16", "u32"])
def test_widened_integers_compare_with_constants(bench, kind):
    """NIR folds ``i64(x) > 0`` to true."""
    narrow = dtype(kind)
    x = Memory("x", narrow, "global")
    a, w = Value("a", narrow), Value("w", i64)
    outs, body, wanted = [], [ThreadIndex(I, "global_id", 0), Load(a, x, (I,)), Op(w, "cast", (a,))], []
    info = np.iinfo(narrow.numpy)
    data = np.array([info.min, info.max, 0, 1, 2, 3, 4, 5] + ([-1, -2, -3] if info.min else []), narrow.numpy)
    for n, number in enumerate((0, 1, -1, 3, 200, -(2**40))):
        c = Value(f"c{n}", i64)
        body.append(Const(c, number))
        for op in ("lt", "le", "gt", "ge", "eq", "ne"):
            for side in range(2):
                out, r = Memory(f"o{n}{op}{side}", i64, "global"), Value(f"r{n}{op}{side}", bool_)
                picked = Value(f"p{n}{op}{side}", i64)
                outs.append(out)
                body += [
                    Op(r, op, (c, w) if side else (w, c)),
                    Op(picked, "select", (r, w, c)),
                    Store(out, (I,), picked),
                ]
                wide = data.astype(np.int64)
                holds = getattr(
                    np,
                    {
                        "lt": "less",
                        "le": "less_equal",
                        "gt": "greater",
                        "ge": "greater_equal",
                        "eq": "equal",
                        "ne": "not_equal",
                    }[op],
                )(*((number, wide) if side else (wide, number)))
                wanted.append(np.where(holds, wide, number))
    found = [data.copy(), *(np.zeros(data.size, np.int64) for _ in outs)]
    bench.run(kernel(*body, params=(x, *outs)), (1,), (data.size,), found)
    for expected, got in zip(wanted, found[1:], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_rounding_to_half_precision_is_not_dropped(bench):
    """NVIDIA's compiler drops a conversion to 16 bits whose result is widened again."""
    from gpucore.ir import f16

    if "cast.f32.f16" not in bench.target.native:
        pytest.skip("halves are converted by integers here")
    x = Memory("x", f32, "global")
    a, three, m, h, w, s, h2, w2 = (Value(n, k) for n, k in zip(
        ("a", "three", "m", "h", "w", "s", "h2", "w2"), (f32, f32, f32, f16, f32, f32, f16, f32), strict=True
    ))  # fmt: skip
    module = kernel(
        ThreadIndex(I, "global_id", 0),
        Load(a, x, (I,)),
        Const(three, 3.0),
        Op(m, "mul", (a, three)),
        Op(h, "cast", (m,)),
        Op(w, "cast", (h,)),
        Op(s, "add", (w, a)),
        Op(h2, "cast", (s,)),
        Op(w2, "cast", (h2,)),
        Store(x, (I,), w2),
        params=(x,),
    )
    data = np.random.default_rng(3).standard_normal(256).astype(np.float32)
    found = [data.copy()]
    bench.run(module, (1,), (256,), found)
    step = (data * np.float32(3)).astype(np.float16).astype(np.float32) + data
    np.testing.assert_array_equal(found[0], step.astype(np.float16).astype(np.float32))


def test_threads_that_leave_a_loop_keep_what_they_had(bench):
    """NIR undoes a loop that never repeats wrongly when threads leave a loop inside it one by one."""
    out = Memory("out", i32, "global")
    digest, count = Var("digest", i32), Var("count", i32)
    zero, one, four, many = (Value(n, i32) for n in ("zero", "one", "four", "many"))
    n, c, d, m, e, later = (
        Value("n_", i32),
        Value("c", bool_),
        Value("d", i32),
        Value("m", i32),
        Value("e", i32),
        Value("later", i32),
    )
    f, g, away = Value("f", i32), Value("g", i32), Value("away", bool_)
    inner = While(
        (
            GetVar(n, count),
            Op(c, "lt", (n, four)),
            GetVar(d, digest),
            Op(m, "mul", (d, many)),
            Op(e, "add", (m, n)),
            SetVar(digest, e),
        ),
        c,
        (
            Op(later, "add", (n, one)),
            SetVar(count, later),
            If(away, (Break(),)),
            Op(f, "mul", (e, many)),
            Op(g, "add", (f, later)),
            SetVar(digest, g),
        ),
    )
    last = Value("last", i32)
    module = kernel(
        ThreadIndex(I, "global_id", 0), Const(zero, 0), Const(one, 1), Const(four, 4), Const(many, 1000003),
        Op(away, "ne", (I, zero)), SetVar(digest, one),
        For(Value("v", i32), zero, one, one, (SetVar(count, zero), inner, Break())),
        GetVar(last, digest), Store(out, (I,), last), params=(out,), variables=(digest, count),
    )  # fmt: skip
    same(bench, module, (1,), (24,), [np.zeros(24, np.int32)])


def test_compare_and_swap_takes_bits_that_were_floats(bench):
    """llvmpipe aborts the process on an atomic whose operand was a float."""
    x, y = Memory("x", f32, "global"), Memory("y", u32, "global")
    a, bits, old = Value("a", f32), Value("bits", u32), Value("old", u32)
    module = kernel(
        ThreadIndex(I, "global_id", 0), Load(a, x, (I,)), Op(Value("b", f32), "add", (a, a)),
        Op(bits, "bitcast.raw", (Value("b", f32),)), AtomicCas(old, y, (I,), bits, bits), Store(y, (I,), old),
        params=(x, y),
    )  # fmt: skip
    found = [np.ones(4, np.float32), np.arange(4, dtype=np.uint32)]
    bench.run(module, (1,), (4,), found)
    assert found[1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(30))
def test_random_kernels_give_the_bits_of_the_interpreter(bench, seed):
    from gpucore_fuzz import cases as fuzz

    def run(module, grid, block, args):
        bench.run(bench.lowered(module), grid, block, args)

    width = bench.device.physical.subgroup_sizes[0] if seed % 3 == 0 else None
    found = fuzz.differential(seed, run, subgroup=width)
    assert found is None, str(found)[:2000]
