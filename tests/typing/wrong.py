"""Programs that type checkers must refuse: exactly the lines marked WRONG."""

import numpy as np

import gpucore as gc


@gc.kernel
def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


@gc.kernel
def blur(x: gc.Array2[gc.f32], out: gc.Array2[gc.f32], radius: gc.constexpr) -> None:
    row, column = gc.global_ids(2)
    total = gc.f32(0)
    for d in range(-radius, radius + 1):
        total += x[row, column + d]
    out[row, column] = total / radius


@gc.kernel
def inside(x: gc.Array[gc.f32], n: gc.i32) -> None:
    i = gc.global_id(0)
    tile = gc.shared(32, gc.f32)
    tile["left"] = 1.0  # WRONG: an index is a number
    count: str = gc.popcount(n)  # WRONG: popcount gives an integer
    name: str = gc.cast(x[i], gc.i32)  # WRONG: a cast gives a number of that kind
    x[i] = gc.sqrt("four")  # WRONG: math takes numbers
    x[i] = gc.select(n > 0, "a", "b")  # WRONG: text in an array of floats
    word: str = x[i]  # WRONG: elements of an array of floats are floats
    gc.barrier(1)  # WRONG: a barrier takes nothing
    j = gc.globl_id(0)  # WRONG: there is no such name
    x[j] = x[x.shap[0]]  # WRONG: nor such an attribute
    all_of_it: str = gc.block_sum(x[i])  # WRONG: a sum of floats is a float
    print(count, name, word, all_of_it)


@gc.struct
class Body:
    pos: gc.vec3[gc.f32]
    mass: gc.f32


@gc.kernel
def push(bodies: gc.Array[Body], z: gc.Array[gc.complex64], g: gc.vec3[gc.f32]) -> None:
    i = gc.global_id(0)
    bodies[i].pos += g * bodies[i].mass
    bodies[i] = Body(g + bodies[i].pos, mass=2.0)
    bodies[i].mass = bodies[i].pos  # WRONG: a mass is a number
    bodies[i].size = 1.0  # WRONG: there is no such field
    bodies[i] = Body(g)  # WRONG: the mass is missing
    z[i] = gc.exp(z[i] * 2j) + z[i].real
    z[i] = "1j"  # WRONG: a complex number is no text


@gc.func
def square(v: gc.f32) -> gc.f32:
    return v * v


@gc.kernel
def calls(x: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    x[i] = square(x[i], 2.0)  # WRONG: square takes one argument
    x[i] = square("two")  # WRONG: square takes a number


def host(ctx: gc.Context) -> None:
    x, y = ctx.ones(8, gc.f32), ctx.zeros(8, "float32")
    saxpy.over(8)(x, y, 2.0)
    saxpy.over(8)(x, y)  # WRONG: a is missing
    saxpy.over(8)(x, y, 2.0, 3.0)  # WRONG: one argument too many
    saxpy.over(8)(x, y, "2")  # WRONG: a is a number
    saxpy.over(8)(x, y, b=2.0)  # WRONG: there is no b
    saxpy[1, 8](np.ones(8, np.float32), y, 2.0)  # WRONG: an ndarray is no Array
    saxpy.over(8).bind(x)  # WRONG: bind takes what a launch takes
    ctx.zeros()  # WRONG: a shape is missing
    ctx.zeros(8, 32)  # WRONG: 32 is no dtype
    ctx.zeros(8, gc.f32, 8)  # WRONG: a shape is one tuple
    ctx.asarray(x)  # WRONG: no such name
    blur.over(8, 8)  # WRONG: a range is one tuple
    ctx.array(x, stream=3)  # WRONG: 3 is no stream
    gc.Context(check="sometimes")  # WRONG: check is True, False or "auto"
    gc.Context(math="loose")  # WRONG: math is strict or fast
    text: str = x.numpy()  # WRONG: numpy() gives an ndarray
    blur.over((8, 8))(x, y, 3)
    y[0] = 1.0
    after: int = "reachable"  # WRONG: the line is checked
    print(text, after)
