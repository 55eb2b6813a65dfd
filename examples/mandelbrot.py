"""The Mandelbrot set as text: a loop that each thread leaves at its own time."""

import gpucore as gc


@gc.kernel
def mandelbrot(out: gc.Array2[gc.i32], limit: gc.i32) -> None:
    y, x = gc.global_ids(2)
    cr = gc.f32(x) * (3.0 / gc.f32(out.shape[1])) - 2.2
    ci = gc.f32(y) * (2.4 / gc.f32(out.shape[0])) - 1.2
    zr = gc.f32(0)
    zi = gc.f32(0)
    n = gc.i32(0)
    while n < limit and zr * zr + zi * zi <= 4.0:
        zr, zi = zr * zr - zi * zi + cr, 2.0 * zr * zi + ci
        n += 1
    out[y, x] = n


def main() -> None:
    with gc.Context() as ctx:
        out = ctx.zeros((28, 76), gc.i32)
        mandelbrot.over(out.shape)(out, 200)
        for row in out.numpy():
            print("".join(" .:-=+*#%@"[min(int(n) // 4, 9)] if n < 200 else "@" for n in row))


if __name__ == "__main__":
    main()
