"""
Training a network on digits
============================

A perceptron with one hidden layer learns scikit-learn's digits: forward, backward and
update are four small kernels, and the data stay on the device from the first epoch to
the last.
"""

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import gpucore as gc

CLASSES = 10


# %%
# One thread computes one number: a sum of products, in order, each added with one
# rounding. A sum in order has one result, so training gives the same network on every
# device. ``relu`` is known when the kernel is compiled, and so is the branch.
@gc.kernel
def layer(
    x: gc.Array2[gc.f32],
    w: gc.Array2[gc.f32],
    bias: gc.Array[gc.f32],
    out: gc.Array2[gc.f32],
    relu: gc.constexpr,
) -> None:
    row, column = gc.global_ids(2)
    total = bias[column]
    for k in range(x.shape[1]):
        total = gc.fma(x[row, k], w[k, column], total)
    if relu:
        total = max(total, 0.0)
    out[row, column] = total


# %%
# Softmax and its gradient, a thread for each sample: the probabilities less one at the
# true class. ``gc.exp`` is gpucore's own and has the same bits everywhere.
@gc.kernel
def gradient_of_scores(scores: gc.Array2[gc.f32], labels: gc.Array[gc.i32]) -> None:
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
        scores[row, c] = (scores[row, c] / total - one) / gc.f32(scores.shape[0])


# %%
# Back through the second layer, where the first one let its value pass.
@gc.kernel
def gradient_of_hidden(
    d_scores: gc.Array2[gc.f32],
    w: gc.Array2[gc.f32],
    hidden: gc.Array2[gc.f32],
    d_hidden: gc.Array2[gc.f32],
) -> None:
    row, column = gc.global_ids(2)
    total = gc.f32(0)
    for c in gc.static_range(CLASSES):
        total = gc.fma(d_scores[row, c], w[column, c], total)
    d_hidden[row, column] = total if hidden[row, column] > 0.0 else 0.0


# %%
# A step down the gradient: the weight's own thread adds up what all samples say of it.
# The thread of row 0 takes the bias along.
@gc.kernel
def descend(
    x: gc.Array2[gc.f32],
    d_out: gc.Array2[gc.f32],
    w: gc.Array2[gc.f32],
    bias: gc.Array[gc.f32],
    rate: gc.f32,
) -> None:
    i, j = gc.global_ids(2)
    total = gc.f32(0)
    for row in range(x.shape[0]):
        total = gc.fma(x[row, i], d_out[row, j], total)
    w[i, j] -= rate * total
    if i == 0:
        total = 0.0
        for row in range(x.shape[0]):
            total += d_out[row, j]
        bias[j] -= rate * total


# %%
# 1,347 scans of 8 x 8 pixels to learn from, 450 to be asked about.
pixels, digits = load_digits(return_X_y=True)
scans, labels = np.asarray(pixels, np.float32) / 16, np.asarray(digits, np.int32)
order = np.random.default_rng(4).permutation(len(scans))
train_x, train_y = scans[order[450:]], labels[order[450:]]
test_x, test_y = scans[order[:450]], labels[order[:450]]

HIDDEN, EPOCHS, RATE = 48, 200, 0.7
rng = np.random.default_rng(0)
w1 = (rng.standard_normal((64, HIDDEN)) * np.sqrt(2 / 64)).astype(np.float32)
w2 = (rng.standard_normal((HIDDEN, CLASSES)) * np.sqrt(2 / HIDDEN)).astype(np.float32)
b1, b2 = np.zeros(HIDDEN, np.float32), np.zeros(CLASSES, np.float32)
Network = tuple[npt.NDArray[np.float32], ...]


def train(epochs: int) -> tuple[Network, npt.NDArray[np.intp]]:
    """The weights after so many epochs, and what each epoch answered for each scan."""
    with gc.Context() as ctx:
        x, y, asked = ctx.array(train_x), ctx.array(train_y), ctx.array(test_x)
        hidden = ctx.empty((len(train_x), HIDDEN), gc.f32)
        d_hidden = ctx.empty_like(hidden)
        scores = ctx.empty((len(train_x), CLASSES), gc.f32)
        asked_hidden = ctx.empty((len(test_x), HIDDEN), gc.f32)
        answers = ctx.empty((len(test_x), CLASSES), gc.f32)
        weights = [ctx.array(a) for a in (w1, b1, w2, b2)]
        d_w1, d_b1, d_w2, d_b2 = weights
        said = []
        for _ in range(epochs):
            layer.over(hidden.shape)(x, d_w1, d_b1, hidden, True)
            layer.over(scores.shape)(hidden, d_w2, d_b2, scores, False)
            gradient_of_scores.over(len(train_x))(scores, y)
            gradient_of_hidden.over(hidden.shape)(scores, d_w2, hidden, d_hidden)
            descend.over(d_w2.shape)(hidden, scores, d_w2, d_b2, RATE)
            descend.over(d_w1.shape)(x, d_hidden, d_w1, d_b1, RATE)

            layer.over(asked_hidden.shape)(asked, d_w1, d_b1, asked_hidden, True)
            layer.over(answers.shape)(asked_hidden, d_w2, d_b2, answers, False)
            said.append(answers.numpy().argmax(axis=1))
        return tuple(w.numpy() for w in weights), np.array(said)


network, said = train(EPOCHS)

# %%
# The first epochs against NumPy in double precision, weight by weight.
a1, c1, a2, c2 = (a.astype(np.float64) for a in (w1, b1, w2, b2))
for _ in range(3):
    h = np.maximum(train_x @ a1 + c1, 0)
    p = np.exp(h @ a2 + c2)
    p = (p / p.sum(axis=1, keepdims=True) - np.eye(CLASSES)[train_y]) / len(train_x)
    back = (p @ a2.T) * (h > 0)
    a2, c2 = a2 - RATE * h.T @ p, c2 - RATE * p.sum(axis=0)
    a1, c1 = a1 - RATE * train_x.T @ back, c1 - RATE * back.sum(axis=0)
for ours, exact in zip(train(3)[0], (a1, c1, a2, c2), strict=True):
    assert np.allclose(ours, exact, rtol=0, atol=2e-6)

# %%
# And the end against scikit-learn: with so few scans a linear model does about as well,
# and a percent is four or five of them.
linear = LogisticRegression(max_iter=1000).fit(train_x, train_y).score(test_x, test_y)
right = (said == test_y).mean(axis=1)
print(f"right: {right[-1]:.1%}, scikit-learn's logistic regression {linear:.1%}")
assert right[-1] > 0.96
assert right[-1] > linear - 0.015

figure = plt.figure(figsize=(8.4, 3.4), layout="constrained")
grid = figure.add_gridspec(3, 10)
axis = figure.add_subplot(grid[:, :5])
axis.plot(np.arange(1, EPOCHS + 1), 100 - right * 100, color="tab:green")
axis.axhline(100 - linear * 100, color="tab:gray", linestyle="--")
axis.text(1.1, 100 - linear * 100, "logistic regression", va="bottom", color="tab:gray")
axis.set(xlabel="epoch", ylabel="wrong answers in %", xscale="log", yscale="log")
axis.set_yticks([2, 5, 10, 20, 50, 100], labels=["2", "5", "10", "20", "50", "100"])
axis.spines[["top", "right"]].set_visible(False)
axis.set_title("450 digits that it never saw")

# ten right answers, then five wrong ones
right_ones, wrong_ones = (
    np.flatnonzero((said[-1] == test_y) == ok) for ok in (True, False)
)
for place, n in enumerate((*right_ones[:10], *wrong_ones[:5])):
    small = figure.add_subplot(grid[place // 5, 5 + place % 5])
    small.imshow(test_x[n].reshape(8, 8), cmap="gray_r")
    small.set_axis_off()
    if place < 10:
        small.set_title(f"{said[-1][n]}", color="tab:green", fontsize="medium")
    else:
        title = f"{said[-1][n]}, is {test_y[n]}"
        small.set_title(title, color="tab:red", fontsize="medium")
plt.show()
