"""Where the time of one token goes: wall time, the graph of a token alone, and its kernels, one kind after another.

    python packages/worker/benchmarks/token_speed.py --devices cuda vulkan --modes exact quick
    python packages/worker/benchmarks/token_speed.py --devices cpu --prompt 64 --tokens 8

The model has the shapes of SmolLM2-135M (Q4_1, its embedding Q8_0) and random weights, or it is that of ``--file``. Devices and
modes take turns, round by round. Before anything is timed, logits of single tokens are compared with those of the same tokens at
once, to the bit; their SHA-256 is to be the same on every device.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import statistics
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import gpucore as gc
from gpucore_worker import load_model
from gpucore_worker.cache import Cache

BLOCKS, WIDTH, HIDDEN, HEADS, SHARED, VOCABULARY, CONTEXT = 30, 576, 1536, 9, 3, 49_152, 8_192
NUMBERS = {"F32": 0, "Q4_1": 3, "Q8_0": 8}
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
REPLAYS = 20


# --- a file
def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, value: Any) -> bytes:
    """A string, an int as u32, a float as f32, a list of strings or of ints as i32."""
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", 6, value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if isinstance(value[0], str):
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return text(key) + struct.pack("<IIQ", 9, 5, len(value)) + np.asarray(value, "<i4").tobytes()


def random_tensor(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> bytes:
    """Weights of a deviation of about one over the root of the columns; vectors are about 1."""
    if kind == "F32":
        return (1 + 0.1 * rng.standard_normal(shape)).astype("<f4").tobytes()
    blocks = shape[0] * shape[1] // 32
    deviation = 1.0 if kind == "Q8_0" else shape[1] ** -0.5
    raw = rng.integers(0, 256, (blocks, 34 if kind == "Q8_0" else 20), dtype=np.uint8)
    scale = deviation / (74 if kind == "Q8_0" else 4.6) * rng.uniform(0.7, 1.3, blocks)
    raw[:, :2] = scale.astype("<f2").view(np.uint8).reshape(-1, 2)
    if kind == "Q4_1":
        raw[:, 2:4] = (-7.5 * scale).astype("<f2").view(np.uint8).reshape(-1, 2)
    return raw.tobytes()


def tensors() -> dict[str, tuple[str, tuple[int, ...]]]:
    keys = SHARED * (WIDTH // HEADS)
    found: dict[str, tuple[str, tuple[int, ...]]] = {"token_embd.weight": ("Q8_0", (VOCABULARY, WIDTH))}
    for block in range(BLOCKS):
        for name, rows, columns in (
            ("attn_q", WIDTH, WIDTH), ("attn_k", keys, WIDTH), ("attn_v", keys, WIDTH), ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", HIDDEN, WIDTH), ("ffn_up", HIDDEN, WIDTH), ("ffn_down", WIDTH, HIDDEN),
        ):  # fmt: skip
            found[f"blk.{block}.{name}.weight"] = ("Q4_1", (rows, columns))
        for name in ("attn_norm", "ffn_norm"):
            found[f"blk.{block}.{name}.weight"] = ("F32", (WIDTH,))
    found["output_norm.weight"] = ("F32", (WIDTH,))
    return found


def write_model(path: Path) -> None:
    rng = np.random.default_rng(5)
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    tokens = [*CONTROL, *(chr(b) for b in plain), *(chr(256 + i) for i in range(256 - len(plain))), "th"]
    tokens += [f"<unused{number}>" for number in range(VOCABULARY - len(tokens))]
    entries = [
        entry(key, value)
        for key, value in {
            "general.architecture": "llama", "llama.block_count": BLOCKS, "llama.context_length": CONTEXT,
            "llama.embedding_length": WIDTH, "llama.feed_forward_length": HIDDEN, "llama.attention.head_count": HEADS,
            "llama.attention.head_count_kv": SHARED, "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.freq_base": 100_000.0, "llama.rope.dimension_count": WIDTH // HEADS,
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3] * 3 + [1] * (VOCABULARY - 3), "tokenizer.ggml.merges": ["t h"],
            "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        }.items()
    ]  # fmt: skip
    heads: list[bytes] = []
    data: list[bytes] = []
    at = 0
    for name, (kind, shape) in tensors().items():
        raw = random_tensor(kind, shape, rng)
        raw += b"\0" * (-len(raw) % 32)
        heads.append(
            text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], NUMBERS[kind], at)
        )
        data.append(raw)
        at += len(raw)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(heads), len(entries)) + b"".join(entries + heads)
    with path.open("wb") as file:
        file.write(head + b"\0" * (-len(head) % 32))
        file.writelines(data)


# --- what is measured
class Contender:
    """A model on a device in one mode."""

    def __init__(self, path: Path, device: str, mode: Any, prompt: int, tokens: int) -> None:
        self.name = f"{device}, {mode}"
        self.context = gc.Context(device)
        self.model = load_model(path, context=self.context, mode=mode)
        self.network = self.model.network
        rng = np.random.default_rng(1)
        self.prompt = rng.integers(3, self.model.architecture.vocabulary, prompt).astype(np.int32)
        self.tokens = tokens
        self.cache: Cache | None = None
        self.token_times: list[float] = []
        self.prompt_times: list[float] = []

    def check(self) -> str:
        """SHA-256 of the logits of some tokens one by one, which have the bits of those tokens at once."""
        some = self.prompt[:70]
        found = self.model.logits(some.tolist(), chunk=1)
        if (found.view(np.uint32) != self.model.logits(some.tolist(), chunk=70).view(np.uint32)).any():
            raise SystemExit(f"{self.name}: logits depend on how tokens are cut")
        return hashlib.sha256(found.tobytes()).hexdigest()

    def round(self) -> None:
        """A prompt at once, then the likeliest tokens; the first of them is not counted."""
        if self.cache is not None:
            self.cache.free()
        self.cache = cache = self.network.new_cache()
        begin = time.perf_counter()
        logits = self.network.advance(cache, self.prompt, chunk=len(self.prompt))
        self.prompt_times.append(time.perf_counter() - begin)
        for number in range(self.tokens + 1):
            begin = time.perf_counter()
            token = np.array([int(np.argmax(logits[-1]))], np.int32)
            logits = self.network.advance(cache, token)
            if number:
                self.token_times.append(time.perf_counter() - begin)

    def kernels(self) -> None:
        """The graph of a token, and graphs of its kernels of one kind and shape, each after the one before."""
        assert self.cache is not None
        graph = self.network._graphs[self.cache.tiles]
        state, stream = self.network.context._state, graph.stream._handle
        device, hooks = state.device._handle, state.hooks
        print(f"{self.name}: {len(graph.nodes)} nodes, {1e3 * self._replay(graph.launch):.3f} ms a replay")
        if not graph.native:
            return
        kinds: dict[str, list[Any]] = collections.defaultdict(list)
        for node in graph._current:
            kinds[repr(getattr(node, "configured", node.name))].append(node.native())
        for kind, nodes in kinds.items():
            chain = [dataclasses.replace(node, after=(k - 1,) if k else ()) for k, node in enumerate(nodes)]
            handle = state.call(hooks.build_graph, device, chain)
            seconds = self._replay(lambda handle=handle: hooks.launch_graph(device, handle, stream))  # type: ignore[misc]
            print(
                f"  {len(nodes):4} x {1e6 * seconds / len(nodes):7.2f} us = {1e3 * seconds:6.3f} ms  {kind}"
            )
            self.context.synchronize()
            hooks.destroy_graph(device, handle)

    def _replay(self, launch: Any) -> float:
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(REPLAYS):
                launch()
            self.context.synchronize()
            times.append((time.perf_counter() - begin) / REPLAYS)
        return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", nargs="+", default=["cpu"])
    parser.add_argument("--modes", nargs="+", default=["exact", "quick"])
    parser.add_argument("--file", type=Path, help="a GGUF file in the place of random weights")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file
        if path is None:
            path = Path(folder) / "random.gguf"
            write_model(path)
        contenders = [
            Contender(path, device, mode, options.prompt, options.tokens)
            for device in options.devices
            for mode in options.modes
        ]
        for contender in contenders:
            print(f"{contender.name}, {contender.context.device.name}: logits {contender.check()}")
            contender.round()
            contender.token_times.clear()
            contender.prompt_times.clear()
        for _ in range(options.rounds):
            for contender in contenders:
                contender.round()
        for contender in contenders:
            each, prompts = contender.token_times, contender.prompt_times
            middle = statistics.median(each)
            print(f"{contender.name}: {1e3 * min(each):.3f} ms a token (median {1e3 * middle:.3f})", end="; ")
            rate, usual = options.prompt / min(prompts), options.prompt / statistics.median(prompts)
            print(f"{rate:,.0f} tokens of a prompt a second (median {usual:,.0f})")
        for contender in contenders:
            contender.kernels()
            if contender.cache is not None:
                contender.cache.free()
            contender.model.close()
            contender.context.close()


if __name__ == "__main__":
    main()
