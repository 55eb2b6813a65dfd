"""
Four streams, and a look at them
================================

Four pieces of work that do not need each other, on one stream and on four, and a host
that does something else until each is done.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import gpucore as gc


# %%
# The work: each piece turns the numbers of its own array many times over.
@gc.kernel
def turn(x: gc.Array1[gc.f32], rounds: gc.i32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        value = x[i]
        for _ in range(rounds):
            value = value * 0.999 + 0.5
        x[i] = value


pieces, n, rounds = 4, 1 << 14, 2000


# %%
# Work is enqueued piece by piece: upload, kernel, download. What is on one stream runs
# in its order; streams have no order among them, so that one may upload while another
# computes.
def enqueue(streams: list[gc.Stream]) -> list[gc.Event]:
    marks = []
    for number in range(pieces):
        stream = streams[number % len(streams)]
        arrays[number].copy_from(sources[number], stream=stream)
        turn.over(n, stream=stream)(arrays[number], rounds)
        arrays[number].copy_to(results[number], stream=stream)
        marks.append(stream.record())
    return marks


# %%
# Instead of waiting, the host polls: ``query`` says at once whether a mark was passed.
# It takes each result as soon as it is there.
def collect(marks: list[gc.Event]) -> tuple[list[int], int]:
    order: list[int] = []
    polls = 0
    while len(order) < pieces:
        for number, mark in enumerate(marks):
            if number not in order and mark.query():
                order.append(number)
        polls += 1
        time.sleep(100e-6)  # or anything else that the host has to do
    return order, polls


# %%
# Copies that overlap kernels want pinned memory on the host's side.
expected = np.float32(1)
for _ in range(rounds):
    expected = expected * np.float32(0.999) + np.float32(0.5)
profiles: dict[str, gc.profile] = {}
with gc.Context() as ctx:
    arrays = [ctx.zeros(n, gc.f32) for _ in range(pieces)]
    sources = [ctx.pinned(n, gc.f32) for _ in range(pieces)]
    results = [ctx.pinned(n, gc.f32) for _ in range(pieces)]
    for source in sources:
        source[:] = 1
    four = [ctx.stream() for _ in range(pieces)]
    collect(enqueue(four))  # compiles the kernel
    for name, streams in {"one stream": four[:1], "four streams": four}.items():
        with gc.profile(ctx) as profiles[name]:
            start = time.perf_counter()
            order, polls = collect(enqueue(streams))
            took = time.perf_counter() - start
        assert all(np.allclose(result, expected, rtol=1e-3) for result in results)
        print(f"{name}: {took * 1e3:.1f} ms; {order} done after {polls} looks")

# %%
# Each row is one stream. How far the bars of four streams lie below one another depends
# on the device: a processor gives all its cores to one kernel after another, a graphics
# card runs small kernels side by side and copies meanwhile.
colors = {"turn": "#3b6fb6", "copy to device": "#e08a2e", "copy to host": "#5aa05a"}
figure, axes = plt.subplots(2, 1, figsize=(9, 4.5), layout="constrained", sharex=True)
for row, (name, profile) in zip(axes, profiles.items()):
    events = [event for event in profile.events if event.name in colors]
    begin = min(event.start_ns for event in events)
    rows = sorted({event.stream or "" for event in events})
    for event in events:
        left, width = (event.start_ns - begin) / 1e6, event.duration_ns / 1e6
        row.barh(
            rows.index(event.stream or ""), width, left=left, color=colors[event.name]
        )
    labels = [f"stream {number + 1}" for number in range(len(rows))]
    row.set_yticks(range(len(rows)), labels)
    row.invert_yaxis()
    row.set_title(name, loc="left")
for kind, color in colors.items():
    axes[1].barh(0, 0, color=color, label=kind)
axes[1].legend(loc="lower right")
axes[1].set_xlabel("ms")
plt.show()
