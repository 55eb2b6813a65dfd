"""``print`` in kernels: what is printed, in which order, and when."""

import numpy as np
import pytest

import gpucore as gc


@gc.func
def doubled(x: gc.f32) -> gc.f32:
    print("doubled", x)
    return x + x


@gc.kernel
def every_dtype(
    f: gc.Array1[gc.f32],
    d: gc.Array1[gc.f64],
    n: gc.Array1[gc.i64],
    u: gc.Array1[gc.u64],
    b: gc.Array1[gc.i8],
) -> None:
    i = gc.global_id(0)
    print("floats", f[i], d[i])
    print(n[i], u[i], b[i], f[i] > 1.0, i, sep=", ")


def test_values_of_every_width_are_shown_as_numpy_shows_them(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    if not gpucore_context.device.capabilities.supports(gc.f64):
        pytest.skip("this device has no f64")
    f = np.array([0.1, -np.inf, np.nan, 1e30], np.float32)
    d = np.array([0.1, 1 / 3, -0.0, 1e300])
    n = np.array([-1, 2**62, -(2**63), 7], np.int64)
    u = np.array([2**64 - 1, 0, 1, 2**33], np.uint64)
    b = np.array([-128, 127, -1, 0], np.int8)
    ctx = gpucore_context
    every_dtype.over(4)(*map(ctx.array, (f, d, n, u, b)))
    assert capsys.readouterr().out == ""
    ctx.synchronize()
    expected = "".join(
        f"floats {f[i]!s} {float(d[i])!r}\n{n[i]}, {u[i]}, {b[i]}, {bool(f[i] > 1)}, {i}\n" for i in range(4)
    )
    assert capsys.readouterr().out == expected
    ctx.synchronize()
    assert capsys.readouterr().out == "", "once is enough"


@gc.kernel
def printed_before_it_fails(x: gc.Array[gc.f32], i: gc.i32) -> None:
    print("before", i)
    x[i] = 1.0


def test_showing_an_array_shows_what_kernels_printed_and_leaves_their_errors(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = gpucore_context.options(check=True)
    x = ctx.zeros(3, gc.f32)
    printed_before_it_fails.over(1)(x, 9)
    assert "a kernel failed" in repr(x)
    assert capsys.readouterr().out == "before 9\n"
    assert "a kernel failed" in x._repr_html_()
    assert capsys.readouterr().out == "", "once is enough"
    with pytest.raises(gc.KernelBoundsError):
        ctx.synchronize()
    assert capsys.readouterr().out == ""


@gc.kernel
def ordered(out: gc.Array2[gc.i32]) -> None:
    y, x = gc.block_id(0), gc.block_id(1)
    t = gc.thread_id(1)
    for k in range(2):
        print(y, x, t, k)
    gc.barrier()
    print(f"end {y}{x}{t}")
    if t == 0:
        out[y, x] = 1


def test_the_order_is_that_of_launches_blocks_threads_and_then_of_each_thread(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = gpucore_context
    out = ctx.zeros((3, 5), gc.i32)
    for _ in range(2):
        ordered[(3, 5), (1, 4)](out)
    out.numpy()
    launch = "".join(
        f"{y} {x} {t} 0\n{y} {x} {t} 1\nend {y}{x}{t}\n" for y in range(3) for x in range(5) for t in range(4)
    )
    assert capsys.readouterr().out == 2 * launch
    ordered[(3, 5), (1, 4)].interpret(np.zeros((3, 5), np.int32))
    assert capsys.readouterr().out == launch


@gc.kernel
def of_a_range(x: gc.Array3[gc.i32]) -> None:
    i, j, k = gc.global_ids(3)
    if x[i, j, k] == 0:
        print("zero at", (i, j, k), end=";")


def test_a_range_prints_in_the_order_of_its_ids_on_every_device(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(1).integers(0, 7, (9, 33, 41)).astype(np.int32)
    of_a_range.over(x.shape)(gpucore_context.array(x))
    gpucore_context.synchronize()
    expected = "".join(f"zero at ({i}, {j}, {k});" for i, j, k in np.argwhere(x == 0))
    assert capsys.readouterr().out == expected


@gc.kernel
def complexes(z: gc.Array1[gc.complex64]) -> None:
    print(z[gc.global_id(0)])


def test_complex_numbers_look_as_numpy_shows_them(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = (0.0, -0.0, 1.5, -2.0, 0.1, 1e-7, 3e20, np.inf, -np.inf, np.nan)
    z = np.array([complex(a, b) for a in parts for b in parts], np.complex64)
    complexes.over(len(z))(gpucore_context.array(z))
    gpucore_context.synchronize()
    assert capsys.readouterr().out.split("\n")[:-1] == [str(value) for value in z]


@gc.kernel
def texts(x: gc.Array1[gc.f32], name: gc.constexpr) -> None:
    i = gc.global_id(0)
    v = gc.vec3[gc.f32](x[i], 0.5, 2.0)
    print(name, "{braces}", None, 1.5, True, v, gc.complex64(x[i], -2.0))
    print(f"{x[i]:8.3f}|{gc.i32(x[i]):+d}|{{}}|{name}")
    print()
    print(gc.i32(doubled(x[i])))


def test_texts_records_formats_and_prints_of_functions(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    texts.over(1)(gpucore_context.full(1, 2.25, gc.f32), "some {name}")
    gpucore_context.synchronize()
    assert capsys.readouterr().out == (
        "some {name} {braces} None 1.5 True (2.25, 0.5, 2.0) (2.25-2j)\n"
        "   2.250|+2|{}|some {name}\n"
        "\n"
        "doubled 2.25\n"
        "4\n"
    )


@gc.kernel
def many(counts: gc.Array1[gc.i32]) -> None:
    i = gc.global_id(0)
    for k in range(counts[i]):
        print(i, k)


def test_what_does_not_fit_is_counted_and_said(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    if gpucore_context.backend == "null":
        pytest.skip("the null backend interprets, which takes too long here")
    ctx = gpucore_context
    many.over(2000)(ctx.full(2000, 200, gc.i32))
    ctx.synchronize()
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) + int(last.split()[1].replace(",", "")) == 400_000
    assert last.startswith("[gpucore: ") and "did not fit" in last
    assert len(lines) == len(set(lines)) > 100_000
    many.over(2)(ctx.ones(2, gc.i32))
    ctx.synchronize()
    assert capsys.readouterr().out == "0 0\n1 0\n"


def test_streams_graphs_and_bound_launches_print(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = gpucore_context
    stream = ctx.stream()
    ones, two = ctx.ones(2, gc.i32), ctx.full(1, 2, gc.i32)
    ctx.synchronize()
    many.over(2, stream=stream)(ones)
    stream.synchronize()
    assert capsys.readouterr().out == "0 0\n1 0\n"
    launch = many.over(1).bind(two)
    for _ in range(3):
        launch()
    ctx.synchronize()
    assert capsys.readouterr().out == 3 * "0 0\n0 1\n"
    with ctx.graph() as graph:
        many.over(2)(ones)
        many.over(1)(two)
    for _ in range(2):
        graph.launch()
    ctx.synchronize()
    assert capsys.readouterr().out == 2 * "0 0\n1 0\n0 0\n0 1\n"


@gc.kernel
def before_an_error(x: gc.Array1[gc.i32], out: gc.Array1[gc.i32]) -> None:
    i = gc.global_id(0)
    print("at", x[i])
    out[i] = x[x[i]]


def test_prints_come_before_the_error_of_their_kernel(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = gpucore_context.options(check=True)
    before_an_error.over(2)(ctx.array(np.array([1, 99], np.int32)), ctx.zeros(2, gc.i32))
    with pytest.raises(gc.KernelBoundsError):
        ctx.synchronize()
    assert capsys.readouterr().out == "at 1\nat 99\n"


def test_closing_a_context_delivers_what_is_left(
    gpucore_context: gc.Context, capsys: pytest.CaptureFixture[str]
) -> None:
    device = gpucore_context.device
    with gc.Context(f"{device.backend}:{device.ordinal}") as ctx:
        before_an_error.over(1)(ctx.zeros(2, gc.i32), ctx.zeros(1, gc.i32))
    assert capsys.readouterr().out == "at 0\n"
