"""Writes GGUF files byte by byte, and tiny models with random weights in any quantisation."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np

TYPES = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "u64": (10, "<Q"), "bool": (7, "<?")}
KINDS = {name: gguf.GGMLQuantizationType[name] for name in (
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")}  # fmt: skip


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, kind: str, value) -> bytes:
    if kind == "str":
        return text(key) + struct.pack("<I", 8) + text(value)
    if kind == "strs":
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    if kind == "f32s":
        return text(key) + struct.pack("<IIQ", 9, 6, len(value)) + np.asarray(value, "<f4").tobytes()
    if kind == "i32s":
        return text(key) + struct.pack("<IIQ", 9, 5, len(value)) + np.asarray(value, "<i4").tobytes()
    number, form = TYPES[kind]
    return text(key) + struct.pack("<I", number) + struct.pack(form, value)


def quantised(weights: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Bytes of weights; the K-quantisations, which ``gguf`` cannot make, are random blocks with scales of about that size."""
    if kind not in ("Q4_K", "Q5_K", "Q6_K"):
        return gguf.quants.quantize(weights, KINDS[kind]).view(np.uint8).reshape(-1)
    per, nbytes = gguf.GGML_QUANT_SIZES[KINDS[kind]]
    blocks = rng.integers(0, 256, (weights.size // per, nbytes), dtype=np.uint8)
    deviation = float(weights.std())
    for at in (208,) if kind == "Q6_K" else (0, 2):
        size = deviation / (1500 if kind == "Q6_K" else 300 if at == 0 else 40)
        scale = (size * rng.uniform(0.5, 1.5, len(blocks))).astype("<f2")
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(-1)


def dequantised(raw: np.ndarray, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    return gguf.quants.dequantize(raw.reshape(*shape[:-1], -1), KINDS[kind]).astype(np.float32).reshape(shape)


def gguf_bytes(
    entries: list[bytes], tensors: dict[str, tuple[str, tuple[int, ...], bytes]], *, version=3, alignment=32
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries)
    data = b""
    for name, (kind, shape, raw) in tensors.items():
        data += b"\0" * (-len(data) % alignment)
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        head += struct.pack("<IQ", int(KINDS[kind]), len(data))
        data += raw
    return head + b"\0" * (-len(head) % alignment) + data


def byte_tokens() -> list[str]:
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]


MERGES = ["t h", "th e", "Ġ the", "i n", "a n", "an d", "e r", "Ġ a"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def vocabulary() -> list[str]:
    """Control tokens, bytes, merges, and tokens that fill up to 320."""
    found = CONTROL + byte_tokens() + [m.replace(" ", "") for m in MERGES]
    return found + [f"<unused{i}>" for i in range(320 - len(found))]


class TinyModel:
    """A model of random weights: its parts, to be changed and written."""

    def __init__(
        self,
        seed=0,
        *,
        kind="F32",
        blocks=2,
        width=64,
        hidden=96,
        heads=4,
        shared=2,
        context=256,
        tied=False,
        name="llama",
        size=None,
        **kinds,
    ):
        rng = np.random.default_rng(seed)
        self.name = name
        self.blocks, self.width, self.heads, self.shared, self.context = blocks, width, heads, shared, context
        self.size = size or width // heads
        self.epsilon, self.base, self.tied = 1e-5, 10_000.0 if name != "gemma3" else 1e6, tied
        self.window = 48
        self.tokens = vocabulary()
        norm = "attention.layer_norm_epsilon" if name == "gpt2" else "attention.layer_norm_rms_epsilon"
        self.numbers = {
            "block_count": ("u32", blocks), "context_length": ("u32", context), "embedding_length": ("u32", width),
            "feed_forward_length": ("u32", hidden), "attention.head_count": ("u32", heads), norm: ("f32", self.epsilon),
        }  # fmt: skip
        if name != "gpt2":
            self.numbers |= {"attention.head_count_kv": ("u32", shared), "rope.freq_base": ("f32", self.base)}
        if name in ("llama", "qwen2"):
            self.numbers["rope.dimension_count"] = ("u32", self.size)
        if name == "gemma3":
            self.numbers["attention.sliding_window"] = ("u32", self.window)
            self.numbers["attention.key_length"] = ("u32", self.size)
            self.numbers["attention.value_length"] = ("u32", self.size)
        self.tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
        queries, keys = heads * self.size, shared * self.size

        def add(name, shape, deviation):
            stored = "F32" if len(shape) == 1 else kinds.get(name.split(".")[-2], kind)
            w = (rng.standard_normal(shape) * deviation).astype(np.float32)
            if len(shape) == 1 and name.endswith("weight"):
                w += 1
            self.tensors[name] = (stored, shape, quantised(w, stored, rng).tobytes())

        def add_norm(name):
            add(f"{name}.weight", (width,), 0.1)
            if self.name == "gpt2":
                add(f"{name}.bias", (width,), 0.3)

        def linear(name, outputs, inputs, deviation, bias=0.0):
            add(f"{name}.weight", (outputs, inputs), inputs**-0.5 * deviation)
            if bias:
                add(f"{name}.bias", (outputs,), bias)

        add("token_embd.weight", (len(self.tokens), width), 1.0)
        if name == "gpt2":
            add("position_embd.weight", (context, width), 0.5)
        for b in range(blocks):
            p = f"blk.{b}."
            qwen, gpt2 = self.name == "qwen2", self.name == "gpt2"
            add_norm(f"{p}attn_norm")
            if gpt2:
                linear(f"{p}attn_qkv", queries + 2 * keys, width, 1.5, 0.3)
            else:
                linear(f"{p}attn_q", queries, width, 2.0, 1.0 * qwen)
                linear(f"{p}attn_k", keys, width, 2.0, 1.0 * qwen)
                linear(f"{p}attn_v", keys, width, 1.0, 0.5 * qwen)
            if self.name == "gemma3":
                for part in ("attn_q_norm", "attn_k_norm"):
                    add(f"{p}{part}.weight", (self.size,), 0.3)
                for part in ("post_attention_norm", "post_ffw_norm"):
                    add(f"{p}{part}.weight", (width,), 0.1)
            linear(f"{p}attn_output", width, queries, 1.0, 0.2 * gpt2)
            add_norm(f"{p}ffn_norm")
            if not gpt2:
                linear(f"{p}ffn_gate", hidden, width, 1.0)
            linear(f"{p}ffn_up", hidden, width, 1.0, 0.2 * gpt2)
            linear(f"{p}ffn_down", width, hidden, 1.0, 0.2 * gpt2)
        add_norm("output_norm")
        if not tied:
            linear("output", len(self.tokens), width, 1.0)

    def entries(self, **replace) -> list[bytes]:
        kinds = [3] * len(CONTROL) + [1] * (len(self.tokens) - len(CONTROL))
        found = {
            "general.architecture": ("str", self.name),
            **{f"{self.name}.{k}": v for k, v in self.numbers.items()},
            "tokenizer.ggml.model": ("str", "gpt2"), "tokenizer.ggml.pre": ("str", "smollm"),
            "tokenizer.ggml.tokens": ("strs", self.tokens), "tokenizer.ggml.token_type": ("i32s", kinds),
            "tokenizer.ggml.merges": ("strs", MERGES),
            "tokenizer.ggml.bos_token_id": ("u32", 1), "tokenizer.ggml.eos_token_id": ("u32", 2),
            **{k.replace("__", "."): v for k, v in replace.items()},
        }  # fmt: skip
        return [entry(k, *v) for k, v in found.items() if v is not None]

    def write(self, path: Path, **replace) -> Path:
        path.write_bytes(gguf_bytes(self.entries(**replace), self.tensors))
        return path

    def weights(self) -> dict[str, np.ndarray]:
        return {
            n: dequantised(np.frombuffer(raw, np.uint8), kind, shape)
            for n, (kind, shape, raw) in self.tensors.items()
        }
