"""A llama in NumPy, in f64, from the papers: RMSNorm, rotary positions, grouped attention, SwiGLU."""

from __future__ import annotations

import numpy as np


def norm(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def rotated(x, base):
    """Neighbours are pairs: ``x[token, head, element]``."""
    tokens, _, size = x.shape
    angles = np.arange(tokens)[:, None] / base ** (np.arange(0, size, 2) / size)
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * c - x[..., 1::2] * s
    out[..., 1::2] = x[..., 0::2] * s + x[..., 1::2] * c
    return out


def logits(model, tokens):
    w = {name: array.astype(np.float64) for name, array in model.weights().items()}
    heads, shared, size = model.heads, model.shared, model.size
    n = len(tokens)
    x = w["token_embd.weight"][np.asarray(tokens)]
    mask = np.tril(np.ones((n, n), bool))
    for b in range(model.blocks):
        get = {n.split(".")[2]: array for n, array in w.items() if n.startswith(f"blk.{b}.")}.__getitem__
        h = norm(x, get("attn_norm"), model.epsilon)
        q = rotated((h @ get("attn_q").T).reshape(n, heads, size), model.base)
        k = rotated((h @ get("attn_k").T).reshape(n, shared, size), model.base)
        v = (h @ get("attn_v").T).reshape(n, shared, size)
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
