"""
Training on several devices
===========================

Each device has a copy of the network and a part of the digits. It adds up what its
scans say of every weight; ``all_reduce`` adds up what the devices say, in their order,
so that all copies stay the same to the last bit.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

import gpucore as gc

os.environ.setdefault("GPUCORE_CPU_DEVICES", "4")
CLASSES = 10


# %%
# The kernels are those of one device, but for the last two: the sum over the samples
# and the step down it are two launches, since the other devices' sums come in between.
# A group launches over the shape of the first array that is cut into pieces, so that
# comes first.
@gc.kernel
def layer(
    out: gc.Array2[gc.f32],
    x: gc.Array2[gc.f32],
    w: gc.Array2[gc.f32],
    bias: gc.Array[gc.f32],
    relu: gc.constexpr,
) -> None:
    row, column = gc.global_ids(2)
    total = bias[column]
    for k in range(x.shape[1]):
        total = gc.fma(x[row, k], w[k, column], total)
    if relu:
        total = max(total, 0.0)
    out[row, column] = total


@gc.kernel
def gradient_of_scores(
    labels: gc.Array[gc.i32], scores: gc.Array2[gc.f32], samples: gc.f32
) -> None:
    row = gc.global_id(0)
    largest = scores[row, 0]
    for c in gc.static_range(1, CLASSES):
        largest = max(largest, scores[row, c])
    total = gc.f32(0)
    for c in gc.static_range(CLASSES):
        scores[row, c] = gc.exp(scores[row, c] - largest)
        total += scores[row, c]
    for c in gc.static_range(CLASSES):
        one = 1.0 if labels[row] == c else 0.0
        scores[row, c] = (scores[row, c] / total - one) / samples


@gc.kernel
def gradient_of_hidden(
    d_hidden: gc.Array2[gc.f32],
    d_scores: gc.Array2[gc.f32],
    w: gc.Array2[gc.f32],
    hidden: gc.Array2[gc.f32],
) -> None:
    row, column = gc.global_ids(2)
    total = gc.f32(0)
    for c in gc.static_range(CLASSES):
        total = gc.fma(d_scores[row, c], w[column, c], total)
    d_hidden[row, column] = total if hidden[row, column] > 0.0 else 0.0


# %%
# The last row is the bias, whose factor is 1 in every sample.
@gc.kernel
def gradient(
    x: gc.Array2[gc.f32], d_out: gc.Array2[gc.f32], out: gc.Array2[gc.f32]
) -> None:
    i, j = gc.global_ids(2)
    total = gc.f32(0)
    for row in range(x.shape[0]):
        factor = x[row, i] if i < x.shape[1] else 1.0
        total = gc.fma(factor, d_out[row, j], total)
    out[i, j] = total


@gc.kernel
def descend(
    gradient: gc.Array2[gc.f32],
    w: gc.Array2[gc.f32],
    bias: gc.Array[gc.f32],
    rate: gc.f32,
) -> None:
    i, j = gc.global_ids(2)
    if i == w.shape[0]:
        bias[j] -= rate * gradient[i, j]
    else:
        w[i, j] -= rate * gradient[i, j]


# %%
# The data, and a network to begin with.
pixels, digits = load_digits(return_X_y=True)
scans, labels = np.asarray(pixels, np.float32) / 16, np.asarray(digits, np.int32)
order = np.random.default_rng(4).permutation(len(scans))
train_x, train_y = scans[order[450:]], labels[order[450:]]
test_x, test_y = scans[order[:450]], labels[order[:450]]

HIDDEN, EPOCHS, RATE = 48, 120, 0.7
rng = np.random.default_rng(0)
w1 = (rng.standard_normal((64, HIDDEN)) * np.sqrt(2 / 64)).astype(np.float32)
w2 = (rng.standard_normal((HIDDEN, CLASSES)) * np.sqrt(2 / HIDDEN)).astype(np.float32)
b1, b2 = np.zeros(HIDDEN, np.float32), np.zeros(CLASSES, np.float32)
Network = list[npt.NDArray[np.float32]]


def train(selectors: list[str], epochs: int) -> list[Network]:
    """The network of each device after so many epochs."""
    count = len(train_x)
    with gc.Group(selectors) as group:
        x, y = group.scatter(train_x), group.scatter(train_y)
        hidden = group.scatter(np.zeros((count, HIDDEN), np.float32))
        d_hidden = group.scatter(np.zeros((count, HIDDEN), np.float32))
        scores = group.scatter(np.zeros((count, CLASSES), np.float32))
        g1 = group.replicate(np.zeros((64 + 1, HIDDEN), np.float32))
        g2 = group.replicate(np.zeros((HIDDEN + 1, CLASSES), np.float32))
        a1, c1, a2, c2 = weights = [group.replicate(a) for a in (w1, b1, w2, b2)]
        for _ in range(epochs):
            group.launch(layer, hidden, x, a1, c1, True)
            group.launch(layer, scores, hidden, a2, c2, False)
            group.launch(gradient_of_scores, y, scores, count)
            group.launch(gradient_of_hidden, d_hidden, scores, a2, hidden)
            group.launch(gradient.over((64 + 1, HIDDEN)), x, d_hidden, g1)
            group.launch(gradient.over((HIDDEN + 1, CLASSES)), hidden, scores, g2)
            group.launch(descend, group.all_reduce(g1), a1, c1, RATE)
            group.launch(descend, group.all_reduce(g2), a2, c2, RATE)
        return [[w.shards[n].numpy() for w in weights] for n in range(len(group))]


# %%
# The devices of one backend. One that is alone is listed four times: it counts as four.
with gc.Context() as ctx:
    backend = ctx.backend
found = [f"{d.backend}:{d.ordinal}" for d in gc.devices() if d.backend == backend]
selectors = (found * 4)[: max(4, len(found))]

# %%
# Every device has the same network, bit for bit. Another number of devices adds up in
# another order: its network differs by rounding errors, which training makes larger.
copies = {count: train(selectors[:count], 3) for count in (1, 2, 4)}
for count, networks in copies.items():
    for network in networks[1:]:
        assert all((a == b).all() for a, b in zip(network, networks[0], strict=True))
    for ours, alone in zip(networks[0], copies[1][0], strict=True):
        assert np.allclose(ours, alone, rtol=0, atol=2e-6)

# %%
# The first epochs against NumPy in double precision.
e1, f1, e2, f2 = (a.astype(np.float64) for a in (w1, b1, w2, b2))
for _ in range(3):
    h = np.maximum(train_x @ e1 + f1, 0)
    p = np.exp(h @ e2 + f2)
    p = (p / p.sum(axis=1, keepdims=True) - np.eye(CLASSES)[train_y]) / len(train_x)
    back = (p @ e2.T) * (h > 0)
    e2, f2 = e2 - RATE * h.T @ p, f2 - RATE * p.sum(axis=0)
    e1, f1 = e1 - RATE * train_x.T @ back, f1 - RATE * back.sum(axis=0)
for ours, exact in zip(copies[4][0], (e1, f1, e2, f2), strict=True):
    assert np.allclose(ours, exact, rtol=0, atol=2e-6)

# %%
# To the end on all devices.
network = train(selectors, EPOCHS)[0]
answers = np.maximum(test_x @ network[0] + network[1], 0) @ network[2] + network[3]
right = (answers.argmax(axis=1) == test_y).mean()
print(f"{len(selectors)} devices ({', '.join(selectors)}): {right:.1%} right")
assert right > 0.95

# %%
# What the first layer looks for, after training on all devices together.
figure, axes = plt.subplots(4, 12, figsize=(8.4, 3), layout="constrained")
for axis, weights_of_one in zip(axes.flat, network[0].T, strict=True):
    axis.imshow(weights_of_one.reshape(8, 8), cmap="RdBu", vmin=-1, vmax=1)
    axis.set_axis_off()
figure.suptitle(f"{len(selectors)} devices, one network: {right:.1%} right")
plt.show()
