"""Models in NumPy, in f64, from the papers: RMSNorm, rotary positions, grouped attention, SwiGLU."""

from __future__ import annotations

import numpy as np


def norm(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def rotated(x, base, neighbours):
    """``x[token, head, element]``: pairs are neighbours, or half a head apart."""
    tokens, _, size = x.shape
    angles = np.arange(tokens)[:, None] / base ** (np.arange(0, size, 2) / size)
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    out = np.empty_like(x)
    first, second = (
        (slice(0, None, 2), slice(1, None, 2))
        if neighbours
        else (slice(0, size // 2), slice(size // 2, None))
    )
    out[..., first] = x[..., first] * c - x[..., second] * s
    out[..., second] = x[..., first] * s + x[..., second] * c
    return out


def logits(model, tokens):
    w = {name: array.astype(np.float64) for name, array in model.weights().items()}
    heads, shared, size = model.heads, model.shared, model.size
    n = len(tokens)
    x = w["token_embd.weight"][np.asarray(tokens)]
    mask = np.tril(np.ones((n, n), bool))
    for b in range(model.blocks):
        get = {
            name.split(".")[2]: array
            for name, array in w.items()
            if name.startswith(f"blk.{b}.") and name.endswith("weight")
        }.__getitem__
        h = norm(x, get("attn_norm"), model.epsilon)
        q, k, v = (h @ get(f"attn_{part}").T + w.get(f"blk.{b}.attn_{part}.bias", 0) for part in "qkv")
        q = rotated(q.reshape(n, heads, size), model.base, model.name == "llama")
        k = rotated(k.reshape(n, shared, size), model.base, model.name == "llama")
        v = v.reshape(n, shared, size)
        k, v = np.repeat(k, heads // shared, 1), np.repeat(v, heads // shared, 1)
        scores = np.where(mask, np.einsum("ihd,jhd->hij", q, k) / np.sqrt(size), -np.inf)
        chances = np.exp(scores - scores.max(-1, keepdims=True))
        chances /= chances.sum(-1, keepdims=True)
        x = x + np.einsum("hij,jhd->ihd", chances, v).reshape(n, -1) @ get("attn_output").T
        h = norm(x, get("ffn_norm"), model.epsilon)
        g = h @ get("ffn_gate").T
        x = x + (g / (1 + np.exp(-g)) * (h @ get("ffn_up").T)) @ get("ffn_down").T
    x = norm(x, w["output_norm.weight"], model.epsilon)
    return x @ w["token_embd.weight" if model.tied else "output.weight"].T
