"""
One buffer, two, three
======================

The same frames through the same kernel, with one item under way, with two and with
three, and where the time goes.
"""

import time
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

import gpucore as gc


# %%
# The work: each frame is smoothed along its rows. A step enqueues on the stream that it
# is given, and what it returns is downloaded.
@gc.kernel
def smooth(image: gc.Array2[gc.f32], out: gc.Array2[gc.f32], rounds: gc.i32) -> None:
    y, x = gc.global_ids(2)
    width = image.shape[1]
    total = gc.f32(0)
    for k in range(rounds):
        total += image[y, (x + k) % width]
    out[y, x] = total / rounds


height, width, rounds, frames = 256, 384, 16, 24


def step(stream: gc.Stream, image: gc.Array2[gc.f32]) -> gc.Array2[gc.f32]:
    out = ctx.empty(image.shape, image.dtype)
    smooth.over(image.shape, stream=stream)(image, out, rounds)
    return out


# %%
# The source takes its time for each frame, as a camera or a disk does, and so does what
# is done with a result.
def source() -> Iterator[npt.NDArray[np.float32]]:
    for number in range(frames):
        time.sleep(0.002)
        yield np.full((height, width), number, np.float32)


# %%
# A pipeline of depth 1 has one item under way: read, upload, compute, download and save
# take turns. With two, the next frame is read while one is computed; with three, one
# more may be on its way to the host.
profiles: dict[int, gc.profile] = {}
seconds: dict[int, float] = {}
with gc.Context() as ctx:
    for result in ctx.pipeline(step, source()):
        pass  # compiles the kernel
    for depth in (1, 2, 3):
        start = time.perf_counter()
        with gc.profile(ctx) as profiles[depth]:
            with ctx.pipeline(step, source(), depth=depth) as results:
                for number, result in enumerate(results):
                    with gc.profile_range("save"):
                        time.sleep(0.002)
                    assert abs(result[0, 0] - number) < 1e-4 * frames
        seconds[depth] = time.perf_counter() - start
        print(f"depth {depth}: {seconds[depth] * 1e3:.0f} ms")
print(profiles[3].table())

# %%
# The timelines of a few frames from the middle. Each row is one kind of work; bars that
# lie below one another ran at the same time.
kinds = ("copy to device", "smooth", "copy to host", "save")
colors = ("#e08a2e", "#3b6fb6", "#5aa05a", "#b7a1d6")
figure, axes = plt.subplots(3, 1, figsize=(9, 6), layout="constrained")
for row, (depth, profile) in zip(axes, profiles.items()):
    events = [event for event in profile.events if event.name in kinds]
    begin = events[len(events) // 2].start_ns
    for event in events:
        left, duration = (event.start_ns - begin) / 1e6, event.duration_ns / 1e6
        if 0 <= left < 25:
            at = kinds.index(event.name)
            row.barh(at, max(duration, 0.05), left=left, color=colors[at])
    row.set_yticks(range(len(kinds)), kinds)
    row.set_xlim(0, 25)
    row.invert_yaxis()
    row.set_title(f"depth {depth}: {seconds[depth] * 1e3:.0f} ms in all", loc="left")
axes[-1].set_xlabel("ms")
plt.show()

# %%
# A file that `Perfetto <https://ui.perfetto.dev>`_ opens has all of it:
# ``profiles[3].save("trace.json")``.
