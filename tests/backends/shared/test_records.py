"""Vectors, structs and complex numbers in kernels, on every backend and the interpreter, against NumPy."""

import dataclasses
import pickle
import typing

import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import KernelBoundsError, LaunchError


@gc.struct
class Body:
    pos: gc.vec3[gc.f32]
    vel: gc.vec3[gc.f32]
    mass: gc.f64
    kind: gc.u8
    on: bool

    @gc.func
    def energy(self, factor=0.5) -> gc.f64:
        return factor * self.mass * gc.f64(gc.dot(self.vel, self.vel))


@gc.struct
class Pair:
    first: Body
    phase: gc.complex64
    second: Body
    half: gc.f16


@pytest.fixture
def context(gpucore_context):
    if not gpucore_context.device.capabilities.supports(gc.f64):
        pytest.skip("the device has no f64")
    return gpucore_context


def everywhere(context, kernel, shape, types, *args):
    """Launch, and interpret on copies: the same bits; the arguments afterwards as ndarrays."""
    host = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    kernel.interpret(shape, (1,) * len(shape), *host)
    on_device = [
        context.array(a, t) if isinstance(a, np.ndarray) else a for a, t in zip(args, types, strict=True)
    ]
    kernel.over(shape)(*on_device)
    found = [a.numpy() if isinstance(a, gc.Array) else a for a in on_device]
    for a, b in zip(host, found, strict=True):
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes() or (np.asarray(a == b) | (a != a)).all()
    return found


def bodies(count, seed=0):
    rng = np.random.default_rng(seed)
    made = np.zeros(count, Body.numpy)
    made["pos"], made["vel"] = rng.random((count, 3)), rng.random((count, 3)) * 4
    made["mass"], made["kind"], made["on"] = rng.random(count), np.arange(count), np.arange(count) % 2 == 0
    return made


# --- layout
def test_structs_are_laid_out_as_c_does_it():
    assert Body.numpy.isalignedstruct
    assert [Body.numpy.fields[n][1] for n in ("pos", "vel", "mass", "kind", "on")] == [0, 12, 24, 32, 33]
    assert Body.itemsize == 40
    assert (gc.vec3[gc.f32].itemsize, gc.vec3[gc.f64].itemsize, gc.complex64.itemsize) == (12, 24, 8)
    assert np.dtype([("a", np.uint8), ("v", np.float32, 3)], align=True) == gc.struct(
        type("S", (), {"__annotations__": {"a": gc.u8, "v": gc.vec3[gc.f32]}})
    )


def test_types_of_vectors_are_one_object_and_make_numpy_values_on_the_host():
    assert gc.vec2[gc.i32] is gc.vec2[gc.i32]
    np.testing.assert_array_equal(gc.vec3[gc.f32](1, 2, 3), np.array([1, 2, 3], np.float32))
    assert gc.complex64(1, 2) == np.complex64(1 + 2j)
    body = Body((0, 0, 0), (0, 0, 0), mass=2.0, kind=1, on=True)
    assert body["mass"] == body.mass == 2.0 and body.pos.tolist() == [0, 0, 0]
    assert pickle.loads(pickle.dumps(body)) == body
    with pytest.raises(TypeError, match="pos, vel, mass, kind, on"):
        Body(1)


# --- structs
@gc.func
def moved(body: Body, dt: gc.f32) -> Body:
    body.pos = body.pos + body.vel * dt
    if body.pos.x > 1.0:
        body.pos.x = 0.0
        body.kind += 1
    return body


@gc.kernel
def step(x: gc.Array[Body], e: gc.Array[gc.f64], dt: gc.f32, g: gc.vec3[gc.f32]) -> None:
    i = gc.global_id(0)
    body = moved(x[i], dt)
    body.vel += g * dt
    if body.on:
        x[i] = body
    e[i] = x[i].energy() + x[i].energy(factor=1.0)
    x[i].pos[i % 3] += 1.0
    x[i].on = not x[i].on


def test_structs_by_value_in_functions_with_methods(context):
    start = bodies(9)
    found, energy, *_ = everywhere(
        context, step, (9,), [Body, None, None, None], start, np.zeros(9), 0.25, (0.0, -9.0, 0.0)
    )
    wanted = start.copy()
    pos = start["pos"] + start["vel"] * np.float32(0.25)
    wanted["kind"] += pos[:, 0] > 1
    pos[:, 0] = np.where(pos[:, 0] > 1, 0, pos[:, 0])
    wanted["pos"], wanted["vel"] = pos, start["vel"] + np.float32((0, -2.25, 0))
    wanted = np.where(start["on"], wanted, start)
    wanted["pos"][np.arange(9), np.arange(9) % 3] += 1
    wanted["on"] = ~wanted["on"]
    for name in Body.numpy.names:
        np.testing.assert_array_equal(found[name], wanted[name], name)
    speed = (wanted["vel"].astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(energy, 1.5 * wanted["mass"] * speed, rtol=1e-6)


@gc.kernel
def nested(x: gc.Array2[Pair], y: gc.Array2[Pair], one: Pair) -> None:
    i, j = gc.global_ids(2)
    pair = x[i, j]
    pair.first.pos.y = one.second.pos.z
    pair.phase = pair.phase * one.phase
    pair.half = one.half
    y[i, j] = pair
    y[i, j].second = pair.first if pair.first == pair.second else one.first
    y[i, j].second.vel.z += 2.0


def test_nested_structs_and_structs_as_arguments(context):
    x = np.zeros((2, 3), Pair.numpy)
    x["first"], x["second"] = bodies(6).reshape(2, 3), bodies(6, 1).reshape(2, 3)
    x["phase"] = 1 + 2j
    one = np.zeros((), Pair.numpy)[()]
    one["first"], one["second"], one["phase"], one["half"] = bodies(2)[0], bodies(2)[1], 3 - 1j, 0.1
    _, found, _ = everywhere(context, nested, (2, 3), [Pair, Pair, None], x, np.zeros_like(x), one)
    wanted = x.copy()
    wanted["first"]["pos"][..., 1] = one["second"]["pos"][2]
    wanted["phase"] = x["phase"] * one["phase"]
    wanted["half"], wanted["second"] = one["half"], one["first"]
    wanted["second"]["vel"][..., 2] += 2
    for name in Pair.numpy.names:
        np.testing.assert_array_equal(found[name], wanted[name], name)


@gc.kernel
def private(x: gc.Array[Body], y: gc.Array[Body]) -> None:
    tile = gc.shared(16, Body)
    kept = gc.local((2, 2), Body)
    t = gc.thread_id(0)
    tile[t] = x[gc.global_id(0)]
    gc.barrier()
    kept[1, 0] = tile[15 - t]
    kept[0, 1].mass = kept[1, 0].mass + kept[0, 0].mass
    kept[1, 0].pos[t % 3] = -1.0
    body = kept[1, 0]
    body.mass = kept[0, 1].mass * 2.0
    y[gc.global_id(0)] = body


def test_shared_and_local_arrays_of_structs(context):
    x = bodies(32)
    y, host = context.zeros(32, Body), np.zeros(32, Body.numpy)
    private[2, 16](context.array(x, Body), y)
    private.interpret(2, 16, x, host)
    wanted = x.reshape(2, 16)[:, ::-1].reshape(-1).copy()
    wanted["mass"] *= 2
    wanted["pos"][np.arange(32), np.arange(32) % 16 % 3] = -1
    for name in Body.numpy.names:
        np.testing.assert_array_equal(y.numpy()[name], wanted[name], name)
        np.testing.assert_array_equal(host[name], wanted[name], name)


class Settings(typing.NamedTuple):
    scale: float
    shift: tuple[float, float]


@gc.struct
class Scaling:
    scale: gc.f32
    shift: gc.vec2[gc.f32]


@gc.kernel
def scaled(x: gc.Array[gc.vec2[gc.f32]], s: Scaling) -> None:
    i = gc.global_id(0)
    x[i] = x[i] * s.scale + s.shift


@pytest.mark.parametrize(
    "argument",
    [Settings(2.0, (1.0, -1.0)), (2.0, (1.0, -1.0)), {"scale": 2, "shift": [1, -1]}, Scaling(2.0, (1.0, -1.0)),
     dataclasses.make_dataclass("D", ["scale", "shift"], frozen=True)(2.0, np.float32((1, -1)))],
    ids=["named tuple", "tuple", "mapping", "struct", "dataclass"],
)  # fmt: skip
def test_what_a_struct_is_given_as(gpucore_context, argument):
    x = np.arange(10, dtype=np.float32).reshape(5, 2)
    (found, _) = everywhere(gpucore_context, scaled, (5,), [gc.vec2[gc.f32], None], x, argument)
    np.testing.assert_array_equal(found, x * 2 + np.float32((1, -1)))


@pytest.mark.parametrize(
    ("argument", "what"),
    [(3.0, "pass a tuple"), ((1.0,), "of 2 parts, and 1"), ({"scale": 1}, "with the fields scale, shift"),
     ((1.0, (1.0, "x")), "its field 'y'"), ((1.0, 2.0), "is a vector")],
)  # fmt: skip
def test_what_does_not_fit_a_struct_is_named(gpucore_context, argument, what):
    with pytest.raises(LaunchError, match=what):
        scaled.over(2)(gpucore_context.zeros(2, gc.vec2[gc.f32]), argument)


# --- vectors
@gc.kernel
def vectors(
    a: gc.Array[gc.vec3[gc.f32]],
    b: gc.Array[gc.vec3[gc.f32]],
    r: gc.Array[gc.f32, 2],
    n: gc.Array[gc.vec4[gc.i32]],
) -> None:
    i = gc.global_id(0)
    u, v = a[i], b[i]
    w = gc.cross(u, v)
    r[0, i] = gc.dot(u, v)
    r[1, i] = gc.length(u - v)
    r[2, i] = w.x + w[1] + w.z
    u = -u if r[0, i] > 0.5 else u / 2.0
    r[3, i] = u[i % 3]
    r[4, i] = gc.select(u == v, u, 1.0 - v).y
    total = gc.vec3[gc.f32](0.0)
    for k in range(3):
        total = total + gc.vec3[gc.f32](k, k + 1, k + 2) * u
    r[5, i] = gc.abs(total).x + gc.sqrt(gc.abs(total)).y
    n[i] = gc.vec4[gc.i32](i, 2, 3, 4) // 2 + n[i] % 3
    a[i].z = gc.f32(n[i].w)
    b[i][i % 3] = 7.0


def test_arithmetic_on_vectors(gpucore_context):
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 8, 3)).astype(np.float32)
    n = np.arange(32, dtype=np.int32).reshape(8, 4)
    types = [gc.vec3[gc.f32]] * 2 + [None, gc.vec4[gc.i32]]
    a2, b2, r, n2 = everywhere(gpucore_context, vectors, (8,), types, a, b, np.zeros((6, 8), np.float32), n)
    np.testing.assert_allclose(r[0], (a * b).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(r[1], np.linalg.norm(a - b, axis=1), rtol=1e-6)
    np.testing.assert_allclose(r[2], np.cross(a, b).sum(axis=1), rtol=1e-5, atol=1e-6)
    u = np.where(r[0][:, None] > 0.5, -a, a / 2)
    np.testing.assert_array_equal(r[3], u[np.arange(8), np.arange(8) % 3])
    np.testing.assert_array_equal(r[4], (1 - b)[:, 1])
    total = u * np.float32((3, 6, 9))
    np.testing.assert_allclose(r[5], abs(total[:, 0]) + np.sqrt(abs(total[:, 1])), rtol=1e-6)
    wanted = np.stack([np.arange(8), np.full(8, 2), np.full(8, 3), np.full(8, 4)], axis=1) // 2 + n % 3
    np.testing.assert_array_equal(n2, wanted)
    np.testing.assert_array_equal(a2[:, 2], wanted[:, 3])
    assert (b2[np.arange(8), np.arange(8) % 3] == 7).all()


@gc.kernel
def gather(x: gc.Array[gc.vec3[gc.f32]], forces: gc.Array[gc.vec3[gc.i32]], where: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    for k in range(3):
        gc.atomic_add(forces, (where[i], k), gc.i32(x[i][k]))


def test_atomics_on_the_elements_of_vectors(gpucore_context):
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    where = (np.arange(10) % 2).astype(np.int32)
    forces = gpucore_context.zeros(2, gc.vec3[gc.i32])
    gather.over(10)(gpucore_context.array(x, gc.vec3[gc.f32]), forces, gpucore_context.array(where))
    np.testing.assert_array_equal(forces.numpy(), [x[0::2].sum(axis=0), x[1::2].sum(axis=0)])


# --- complex numbers
@gc.kernel
def complexes(z: gc.Array, w: gc.Array, r: gc.Array, a: gc.Array) -> None:
    i = gc.global_id(0)
    x, y = z[i], w[i]
    r[0, i] = x + y
    r[1, i] = x * y
    r[2, i] = x / y
    r[3, i] = x - 2.0 * y + 1j
    r[4, i] = gc.exp(x)
    r[5, i] = gc.log(x)
    r[6, i] = gc.sqrt(x)
    r[7, i] = gc.sin(x)
    r[8, i] = gc.cos(x)
    r[9, i] = x**y
    r[10, i] = x**3
    r[11, i] = gc.conj(x) / 3.0
    r[12, i] = 1.0 / x
    r[13, i] = x**-2
    r[14, i] = -x if x.real > 0.0 else x * 1j
    a[i] = abs(x)


@pytest.mark.parametrize(("dtype", "close"), [(np.complex64, 2e-6), (np.complex128, 1e-14)])
def test_complex_numbers(gpucore_context, dtype, close):
    real = gc.f32 if dtype is np.complex64 else gc.f64
    if not gpucore_context.device.capabilities.supports(real):
        pytest.skip("the device has no f64")
    rng = np.random.default_rng(0)
    z, w = (rng.normal(size=(2, 40)) + 1j * rng.normal(size=(2, 40))).astype(dtype)
    r, a = np.zeros((15, 40), dtype), np.zeros(40, real.numpy)
    _, _, r, a = everywhere(gpucore_context, complexes, (40,), [None] * 4, z, w, r, a)
    x, y = z.astype(complex), w.astype(complex)
    wanted = [
        x + y, x * y, x / y, x - 2 * y + 1j, np.exp(x), np.log(x), np.sqrt(x), np.sin(x), np.cos(x), x**y, x**3,
        x.conj() / 3, 1 / x, x**-2, np.where(x.real > 0, -x, x * 1j),
    ]  # fmt: skip
    for found, exact in zip(r, wanted, strict=True):
        assert np.max(abs(found - exact) / abs(exact)) < close
    np.testing.assert_allclose(a, abs(x), rtol=close)


def test_the_cut_of_the_root_and_zeros(gpucore_context):
    @gc.kernel
    def kernel(z: gc.Array[gc.complex64], r: gc.Array[gc.complex64, 2]) -> None:
        i = gc.global_id(0)
        r[0, i] = gc.sqrt(z[i])
        r[1, i] = gc.log(z[i])
        r[2, i] = z[i] ** gc.complex64(2.0, 0.0)
        r[3, i] = gc.complex64(1.0) / z[i]

    z = np.array([complex(-4, 0.0), complex(-4, -0.0), 0, complex(3, 4)], np.complex64)
    _, r = everywhere(gpucore_context, kernel, (4,), [None, None], z, np.zeros((4, 4), np.complex64))
    np.testing.assert_array_equal(r[0], np.complex64([2j, -2j, 0, 2 + 1j]))
    np.testing.assert_allclose(r[1][:2], np.log(z[:2]), rtol=1e-6)
    np.testing.assert_allclose(r[2], z**2, rtol=1e-5, atol=1e-5)
    assert np.isinf(r[3][2].real)
    np.testing.assert_allclose(r[3][3], 1 / z[3], rtol=1e-6)


def test_complex_arguments_and_literals(gpucore_context):
    @gc.kernel
    def kernel(out: gc.Array[gc.i32, 2], corner: gc.complex64, step) -> None:
        i, j = gc.global_ids(2)
        c = corner + gc.complex64(j, i) * step
        z, n = 0j, 0
        while abs(z) <= 2.0 and n < 30:
            z = z * z + c
            n += 1
        out[i, j] = n

    (found, *_) = everywhere(
        gpucore_context, kernel, (8, 12), [None] * 3, np.zeros((8, 12), np.int32), -2 - 1j, 0.25
    )
    assert found[4, 2] == 30
    assert found[0, 0] == 1
    with pytest.raises(LaunchError, match="is a complex64"):
        kernel.over((8, 12))(gpucore_context.zeros((8, 12), gc.i32), "1j", 0.25)


# --- arrays
def same(found, expected):
    """Whether the elements are the same; what pads structs is nobody's."""
    if expected.dtype.names:
        return found.dtype == expected.dtype and bool((found == expected).all())
    return found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [gc.vec3[gc.f32], gc.complex64, Body, Pair], ids=str)
def test_arrays_from_and_to_numpy(context, dtype):
    raw = np.random.default_rng(5).integers(0, 2, (4, 5, dtype.itemsize), np.uint8)
    host = raw.reshape(4, -1).view(dtype.numpy.base).reshape(4, 5, *dtype.numpy.shape).copy()
    array = context.array(host, dtype)
    assert (array.shape, array.dtype, array.nbytes) == ((4, 5), dtype, 20 * dtype.itemsize)
    assert same(array.numpy(), host)
    assert same(array[1:3, ::2].numpy(), host[1:3, ::2])
    assert same(array[1:3, ::2].contiguous().numpy(), host[1:3, ::2])
    other = context.zeros((4, 5), dtype)
    assert not any(other.numpy().tobytes())
    other[2].copy_from(array[1])
    assert same(other.numpy()[2], host[1])
    other.copy_from(array)
    target = np.zeros_like(host)
    other.copy_to(target)
    context.synchronize()
    assert same(target, host)
    assert str(dtype) in repr(array)
    with pytest.raises((TypeError, ValueError)):
        array.copy_from(np.zeros((4, 5), np.float32))


def test_fills(context):
    np.testing.assert_array_equal(context.ones(3, gc.vec2[gc.i32]).numpy(), np.ones((3, 2)))
    np.testing.assert_array_equal(context.full(3, (1, 2), gc.vec2[gc.i32]).numpy(), [[1, 2]] * 3)
    np.testing.assert_array_equal(context.full(3, 1 + 2j, gc.complex128).numpy(), [1 + 2j] * 3)
    np.testing.assert_array_equal(context.full(2, bodies(2)[1], Body).numpy(), bodies(2)[[1, 1]])


def test_wrong_arrays_are_refused(context):
    with pytest.raises(LaunchError, match="wants dtype vec2"):
        scaled.over(2)(context.zeros(2, gc.vec3[gc.f32]), (1.0, (0.0, 0.0)))
    with pytest.raises(LaunchError, match="shape"):
        scaled.interpret(2, 1, np.zeros((2, 3), np.float32), (1.0, (0.0, 0.0)))
    with pytest.raises(TypeError, match="gc.struct"):
        context.array(np.zeros(2, Body.numpy))


@gc.struct
class Point:
    x: gc.f32
    y: gc.f32


@gc.struct
class Segment:
    end: Point
    width: gc.f32


def test_fields_in_another_order_are_not_taken_for_one_another(context):
    swapped = np.array([(1, 2)], [("y", "f4"), ("x", "f4")])
    with pytest.raises(TypeError, match=r"fields of Point in another order.*data\[\['x', 'y'\]\]"):
        context.array(swapped, Point)
    assert context.array(swapped[["x", "y"]], Point).numpy().tolist() == [(2, 1)]
    with pytest.raises(TypeError, match="another order"):
        context.array(np.zeros(1, [("end", swapped.dtype), ("width", "f4")]), Segment)
    padded = np.array(
        [(1, 2)], {"names": ["x", "y"], "formats": ["f8", "f4"], "offsets": [4, 12], "itemsize": 24}
    )
    assert context.array(padded, Point).numpy().tolist() == [(1, 2)]


def test_a_struct_is_no_base_class_and_a_vector_is_one_of_something():
    with pytest.raises(TypeError, match="Point has no subclasses; make it a field of Weighted"):

        class Weighted(Point):  # type: ignore[misc]
            weight: gc.f32

    @gc.kernel
    def untyped(out: gc.Array1[gc.f32]) -> None:
        out[0] = gc.vec2(1.0, 2.0).x

    with pytest.raises(gc.KernelSyntaxError, match=r"gc\.vec2\[gc\.f32\]\(\.\.\.\)"):
        untyped.interpret(1, 1, np.zeros(1, np.float32))


def test_bounds_name_the_users_array(context):
    @gc.kernel
    def kernel(x: gc.Array[Body]) -> None:
        x[gc.global_id(0) + 1].mass = 1.0

    with pytest.raises(KernelBoundsError) as error:
        kernel.interpret(3, 1, bodies(3))
    assert (error.value.array, error.value.index, error.value.shape) == ("x", (3,), (3,))
    checked = context.options(check=True)
    x = checked.array(bodies(3), Body)
    kernel.over(3)(x)
    with pytest.raises(KernelBoundsError) as error:
        x.numpy()
    assert (error.value.array, error.value.index, error.value.shape) == ("x", (3,), (3,))


def test_threads_may_share_an_element_by_its_fields():
    @gc.kernel
    def kernel(x: gc.Array[Body]) -> None:
        i = gc.global_id(0)
        if i % 2 == 0:
            x[i // 2].mass = 1.0
        else:
            x[i // 2].pos.y = gc.f32(x[i // 2].kind)

    kernel.interpret(8, 1, bodies(4))

    @gc.kernel
    def racy(x: gc.Array[Body]) -> None:
        x[gc.global_id(0) // 2].pos.y = gc.f32(gc.global_id(0))

    with pytest.raises(gc.DataRaceError, match=r"data race on x\[0\]"):
        racy.interpret(8, 1, bodies(4))


def test_overlapping_arrays_of_structs(context):
    @gc.kernel
    def kernel(x: gc.Array[Body], y: gc.Array[Body]) -> None:
        i = gc.global_id(0)
        y[i].mass = x[i].mass + 1.0
        y[i].pos.x = x[i].pos.x * 2.0

    x = context.array(bodies(8), Body)
    kernel.over(8)(x, x)
    np.testing.assert_array_equal(x.numpy()["mass"], bodies(8)["mass"] + 1)
    np.testing.assert_array_equal(x.numpy()["pos"][:, 0], bodies(8)["pos"][:, 0] * 2)


def test_the_host_compares_extents_and_fields_of_arguments(context):
    @gc.struct
    class Window:
        first: gc.i32
        count: gc.i32

    @gc.kernel
    def kernel(x: gc.Array[Body], y: gc.Array[gc.vec2[gc.f32]], w: Window) -> None:
        i = gc.global_id(0)
        for k in range(w.count):
            x[i + w.first + k].mass = gc.f64(i)
        y[i].x = 1.0

    careful = context.options(check="auto")
    x, y = careful.array(bodies(4), Body), careful.zeros(1, gc.vec2[gc.f32])
    kernel.over(1)(x, y, (1, 3))
    assert (x.numpy()["mass"][1:] == 0).all()
    checks = kernel.over(1).checks(x, y, (1, 3))
    assert [check.array for check in checks] == ["x", "y"]
    with pytest.raises(KernelBoundsError) as error:
        kernel.over(1)(x, y, (2, 3))
        x.numpy()
    assert (error.value.array, error.value.index, error.value.shape) == ("x", (4,), (4,))
    with pytest.raises(KernelBoundsError) as error:
        kernel.over(2)(x, y, (0, 1))
        x.numpy()
    assert (error.value.array, error.value.index, error.value.shape) == ("y", (1,), (1,))


@gc.kernel
def by_elements(
    x: gc.Array[gc.vec3[gc.f32]],
    n: gc.Array[gc.vec3[gc.i32]],
    y: gc.Array[gc.vec3[gc.f32]],
    z: gc.Array[gc.vec3[gc.i32]],
) -> None:
    v, w = x[0], x[1]
    y[0], y[1], y[2], y[3] = gc.floor(v), gc.ceil(v), gc.trunc(v), round(v)
    y[4], y[5], y[6] = min(v, w), gc.max(v, 0.25, w), gc.clamp(v, w, 1.0)
    y[7], y[8] = gc.fma(v, w, 1.0), gc.fmin(v, w)
    y[9], y[10], y[11] = gc.copysign(v, w), gc.ldexp(v, n[0]), gc.fmod(v, 0.75)
    z[0], z[1] = min(n[0], n[1]), gc.clamp(n[0], 0, 1)


def test_functions_of_numbers_work_on_vectors_by_elements(gpucore_context):
    v = np.array((-1.5, 2.25, -0.0), np.float32)
    w = np.array((0.5, -0.0, 3.5), np.float32)
    n = np.array(((2, -1, 0), (1, 3, -4)), np.int32)
    y, z = gpucore_context.zeros(12, gc.vec3[gc.f32]), gpucore_context.zeros(2, gc.vec3[gc.i32])
    arrays = gpucore_context.array([v, w], gc.vec3[gc.f32]), gpucore_context.array(n, gc.vec3[gc.i32])
    by_elements[1, 1](*arrays, y, z)
    wanted = [np.floor(v), np.ceil(v), np.trunc(v), np.round(v), np.minimum(v, w), np.maximum(np.maximum(v, 0.25), w),
              np.minimum(np.maximum(v, w), 1), v * w + 1, np.fmin(v, w), np.copysign(v, w), np.ldexp(v, n[0]),
              np.fmod(v, np.float32(0.75))]  # fmt: skip
    for k, (found, row) in enumerate(zip(y.numpy(), wanted, strict=True)):
        np.testing.assert_array_equal(found, np.float32(row), f"row {k}")
    np.testing.assert_array_equal(z.numpy(), [np.minimum(*n), np.clip(n[0], 0, 1)])


def test_vectors_of_two_lengths_have_no_least():
    @gc.kernel
    def kernel(y: gc.Array[gc.vec2[gc.f32]], a: gc.vec2[gc.f32], b: gc.vec3[gc.f32]) -> None:
        y[0] = min(a, b)

    with pytest.raises(gc.KernelTypeError, match="vectors of 2 and of 3 elements do not go together"):
        kernel.interpret(1, 1, np.zeros((1, 2), np.float32), (1.0, 2.0), (1.0, 2.0, 3.0))


@gc.struct
class Cell:
    a: gc.f32
    b: gc.i32


@gc.kernel
def outside_shared(x: gc.Array[gc.i32], i: gc.i32) -> None:
    tile = gc.shared(4, Cell)
    tile[i] = Cell(1.0, 2)
    gc.barrier()
    x[0] = tile[0].b


@gc.kernel
def outside_local(x: gc.Array[gc.i32], i: gc.i32) -> None:
    mine = gc.local((2, 3), gc.complex64)
    mine[0, i] = 1j
    x[0] = gc.i32(mine[0, 0].imag)


@gc.kernel
def outside_sized(x: gc.Array[gc.i32], i: gc.i32) -> None:
    rows = gc.shared((i, 2), gc.vec2[gc.f32])
    rows[i, 0].y = 1.0
    gc.barrier()
    x[0] = gc.i32(rows[0, 0].y)


@pytest.mark.parametrize(
    ("kernel", "name"), ((outside_shared, "tile"), (outside_local, "mine"), (outside_sized, "rows"))
)
def test_errors_name_shared_and_local_arrays_of_records_as_the_user_does(gpucore_context, kernel, name):
    context = gpucore_context.options(check=True)
    kernel[1, 1](context.zeros(1, gc.i32), 5)
    with pytest.raises(gc.KernelBoundsError) as error:
        context.synchronize()
    assert error.value.array == name
    with pytest.raises(gc.KernelBoundsError, match=f"out of bounds for {name} of"):
        kernel.interpret(1, 1, np.zeros(1, np.int32), 5)
