"""Models in NumPy, in f64, from the papers: RMSNorm, rotary positions, grouped attention, SwiGLU; Gemma 3's windows, norms
and GeGLU; GPT-2."""

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


def gelu(x):
    return x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2


def silu(x):
    return x / (1 + np.exp(-x))


def attended(q, k, v, window):
    """``q[token, head, element]``; a token attends to itself and the ones before it, ``window`` in all."""
    n, heads, size = q.shape
    k, v = (np.repeat(part, heads // part.shape[1], 1) for part in (k, v))
    back = np.arange(n)[:, None] - np.arange(n)
    scores = np.where((back >= 0) & (back < window), np.einsum("ihd,jhd->hij", q, k) / np.sqrt(size), -np.inf)
    chances = np.exp(scores - scores.max(-1, keepdims=True))
    chances /= chances.sum(-1, keepdims=True)
    return np.einsum("hij,jhd->ihd", chances, v).reshape(n, -1)


def logits(model, tokens):
    w = {name: array.astype(np.float64) for name, array in model.weights().items()}
    if model.name == "gpt2":
        return gpt2_logits(model, w, tokens)
    gemma = model.name == "gemma3"
    heads, shared, size = model.heads, model.shared, model.size
    n = len(tokens)
    x = w["token_embd.weight"][np.asarray(tokens)]
    if gemma:
        x = x * model.width**0.5
    for b in range(model.blocks):
        get = {
            name.split(".")[2]: array
            for name, array in w.items()
            if name.startswith(f"blk.{b}.") and name.endswith("weight")
        }.__getitem__
        h = norm(x, get("attn_norm"), model.epsilon)
        q, k, v = (
            (h @ get(f"attn_{part}").T + w.get(f"blk.{b}.attn_{part}.bias", 0)).reshape(n, -1, size)
            for part in "qkv"
        )
        assert q.shape[1:] == (heads, size) and k.shape[1:] == (shared, size)
        base, window = model.base, n
        if gemma:
            q = norm(q, get("attn_q_norm"), model.epsilon)
            k = norm(k, get("attn_k_norm"), model.epsilon)
            if (b + 1) % 6:
                base, window = 10_000.0, model.window
        q, k = (rotated(part, base, model.name == "llama") for part in (q, k))
        y = attended(q, k, v, window) @ get("attn_output").T
        x = x + (norm(y, get("post_attention_norm"), model.epsilon) if gemma else y)
        h = norm(x, get("ffn_norm"), model.epsilon)
        act = gelu if gemma else silu
        y = (act(h @ get("ffn_gate").T) * (h @ get("ffn_up").T)) @ get("ffn_down").T
        x = x + (norm(y, get("post_ffw_norm"), model.epsilon) if gemma else y)
    x = norm(x, w["output_norm.weight"], model.epsilon)
    return x @ w["token_embd.weight" if model.tied else "output.weight"].T


def gpt2_logits(model, w, tokens):
    n = len(tokens)

    def layer_norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + model.epsilon)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["token_embd.weight"][np.asarray(tokens)] + w["position_embd.weight"][:n]
    for b in range(model.blocks):
        p = f"blk.{b}."
        qkv = linear(layer_norm(x, f"{p}attn_norm"), f"{p}attn_qkv")
        q, k, v = (part.reshape(n, model.heads, model.size) for part in np.split(qkv, 3, -1))
        x = x + linear(attended(q, k, v, n), f"{p}attn_output")
        x = x + linear(gelu(linear(layer_norm(x, f"{p}ffn_norm"), f"{p}ffn_up")), f"{p}ffn_down")
    return layer_norm(x, "output_norm") @ w["token_embd.weight" if model.tied else "output.weight"].T
