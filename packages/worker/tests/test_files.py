"""GGUF files that are damaged or hostile are refused, before a device is opened, with code 3 and what is wrong."""

from __future__ import annotations

import contextlib
import os
import struct
import sys

import numpy as np
import pytest
from gguf_writer import CONTROL, TinyModel, entry, gguf_bytes, text

from gpucore_worker import api, load_model
from gpucore_worker.architecture import read_architecture
from gpucore_worker.errors import ModelError
from gpucore_worker.gguf_file import GGUFFile
from gpucore_worker.tokenizer import Vocabulary

MODEL = TinyModel(0, blocks=1)
WHOLE = gguf_bytes(MODEL.entries(), MODEL.tensors)
HUGE = struct.pack("<Q", 1 << 62)


def file_with(tmp_path, raw):
    path = tmp_path / "bad.gguf"
    path.write_bytes(raw)
    return path


def refused(tmp_path, raw, *says):
    path = file_with(tmp_path, raw)
    with pytest.raises(ModelError) as caught:
        load_model(path, "no such backend")
    assert caught.value.code == 3
    for word in (str(path), *says):
        assert word in str(caught.value)


def head(*, version=3, tensors=0, entries=0):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries)


def tensor(name="w", shape=(32,), kind=0, offset=0):
    return (
        text(name)
        + struct.pack("<I", len(shape))
        + struct.pack(f"<{len(shape)}Q", *shape)
        + struct.pack("<IQ", kind, offset)
    )


CASES = {
    "empty": (b"", "0 bytes"),
    "magic": (b"GGML" + WHOLE[4:], "begins with", "byte 0"),
    "version 1": (head(version=1), "version 1", "2 and 3"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "big-endian"),
    "tensor count": (b"GGUF" + struct.pack("<I", 3) + HUGE + struct.pack("<Q", 0), "tensors are claimed"),
    "entry count": (b"GGUF" + struct.pack("<IQ", 3, 0) + HUGE, "entries are claimed"),
    "key length": (head(entries=1) + HUGE + b"\0" * 40, "key of metadata entry 0"),
    "string length": (head(entries=1) + text("k") + struct.pack("<I", 8) + HUGE + b"\0" * 40, "'k'", "truncated"),
    "array length": (head(entries=1) + text("k") + struct.pack("<II", 9, 4) + HUGE + b"\0" * 40, "claims", "hold them"),
    "array of arrays": (head(entries=1) + text("k") + struct.pack("<IIQ", 9, 9, 1) + b"\0" * 40, "array of arrays"),
    "value type": (head(entries=1) + text("k") + struct.pack("<I", 77) + b"\0" * 40, "value type 77"),
    "bool": (head(entries=1) + text("k") + struct.pack("<IB", 7, 2) + b"\0" * 40, "bool of value 2"),
    "not UTF-8": (head(entries=1) + struct.pack("<Q", 2) + b"\xff\xfe" + b"\0" * 40, "not UTF-8"),
    "key twice": (head(entries=2) + 2 * entry("k", "u32", 1), "there twice"),
    "axes": (head(tensors=1) + tensor(shape=(1, 1, 1, 1, 1)), "5 axes"),
    "no element": (head(tensors=1) + tensor(shape=(0,)), "impossible shape"),
    "overflow": (head(tensors=1) + tensor(shape=(1 << 40, 1 << 40)), "impossible shape"),
    "quantisation": (head(tensors=1) + tensor(kind=10), "Q2_K", "Q4_1"),
    "unknown quantisation": (head(tensors=1) + tensor(kind=999), "type 999"),
    "half a block": (head(tensors=1) + tensor(shape=(33,), kind=8), "blocks of 32"),
    "offset": (head(tensors=1) + tensor(offset=8), "alignment 32"),
    "beyond": (head(tensors=1) + tensor(offset=1 << 20), "beyond the file"),
    "offset overflow": (head(tensors=1) + tensor(offset=(1 << 64) - 32), "beyond the file"),
    "tensor twice": (head(tensors=2) + tensor() + tensor(offset=128) + b"\0" * 500, "there twice"),
    "overlap": (head(tensors=2) + tensor("a", (64,)) + tensor("b", offset=128) + b"\0" * 500, "overlap"),
    "alignment": (head(entries=1) + entry("general.alignment", "u32", 12) + b"\0" * 30, "multiple of 8"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_file_is_refused_with_what_is_wrong(tmp_path, case):
    raw, *says = CASES[case]
    refused(tmp_path, raw.ljust(24, b"\0") if raw else raw, *says)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path / "none.gguf")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    tokens_end = WHOLE.index(b"token_embd.weight")
    for size in [
        *range(0, 900, 7),
        *range(900, tokens_end, 501),
        *range(tokens_end, len(WHOLE) - 40, 20_011),
    ]:
        with pytest.raises(ModelError):
            load_model(file_with(tmp_path, WHOLE[:size]), "no such backend")


def test_random_damage_to_the_head_never_does_worse_than_refusal(tmp_path):
    rng = np.random.default_rng(4)
    size = WHOLE.index(b"blk.0.attn_norm.weight") + 2_000
    for _ in range(150):
        damaged = bytearray(WHOLE)
        for at in rng.integers(0, size, 3):
            damaged[at] = rng.integers(256)
        try:
            file = GGUFFile(file_with(tmp_path, damaged))
        except ModelError:
            continue
        for t in file.tensors.values():
            assert len(file.raw(t)) == t.nbytes
        with contextlib.suppress(ModelError):
            Vocabulary(file, read_architecture(file).vocabulary)


def test_version_2_is_read(tmp_path):
    path = file_with(tmp_path, gguf_bytes(MODEL.entries(), MODEL.tensors, version=2, alignment=32))
    assert GGUFFile(path).version == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"general__architecture": ("str", "mamba")}, "'mamba' is not supported"),
        ({"general__architecture": None}, "general.architecture"),
        ({"llama__block_count": None}, "llama.block_count"),
        ({"llama__block_count": ("u32", 1 << 30)}, "blocks are claimed"),
        ({"llama__block_count": ("u32", 2)}, "blk.1.attn_norm.weight"),
        ({"llama__embedding_length": ("u32", 128)}, "shape"),
        ({"llama__attention__head_count": ("str", "4")}, "'4'"),
        ({"llama__attention__head_count_kv": ("u32", 3)}, "share"),
        ({"llama__attention__layer_norm_rms_epsilon": ("f32", float("nan"))}, "positive number"),
        ({"llama__rope__scaling__type": ("str", "yarn")}, "yarn"),
        ({"llama__expert_count": ("u32", 8)}, "experts"),
        ({"llama__rope__scaling__factor": ("f32", 4.0)}, "rope.scaling.factor"),
        ({"llama__rope__scale_linear": ("f32", 4.0)}, "rope.scale_linear"),
        ({"llama__attention__causal": ("bool", False)}, "attention.causal"),
        ({"llama__logit_scale": ("f32", 0.5)}, "logit_scale"),
        # lists where one value was expected
        ({"general__architecture": ("i32s", [1, 2])}, "architecture"),
        ({"general__architecture": ("i32s", [])}, "architecture"),
        ({"general__architecture": ("strs", ["llama"])}, "1 strings"),
        ({"llama__rope__scaling__type": ("i32s", [1, 2])}, "scaling"),
        ({"llama__logit_scale": ("f32s", [1.0, 1.0])}, "logit_scale"),
        ({"tokenizer__ggml__model": ("i32s", [1, 2])}, "tokenizer"),
        ({"tokenizer__ggml__add_bos_token": ("i32s", [])}, "add_bos_token"),
        ({"tokenizer__ggml__add_bos_token": ("str", "false")}, "'false'"),
        ({"tokenizer__ggml__pre": ("str", "martian")}, "'martian' is not supported"),
        ({"tokenizer__ggml__model": ("str", "bert")}, "'bert'"),
        ({"tokenizer__ggml__tokens": ("strs", CONTROL)}, "3 tokens are listed"),
        ({"tokenizer__ggml__merges": ("strs", ["q zzz"])}, "merge"),
        ({"tokenizer__ggml__eos_token_id": ("u32", 5000)}, "no token"),
    ],
)
def test_what_is_not_supported_is_refused_before_a_device_is_opened(tmp_path, change, says):
    refused(tmp_path, gguf_bytes(MODEL.entries(**change), MODEL.tensors), says)


def test_windows_of_another_pattern_are_refused(tmp_path):
    gemma = TinyModel(0, blocks=1, name="gemma3")
    for change, says in (
        ({"gemma3__attention__sliding_window_pattern": ("u32", 2)}, "sliding_window_pattern"),
        ({"gemma3__rope__freq_base_swa": ("f32", 5e5)}, "freq_base_swa"),
    ):
        refused(tmp_path, gguf_bytes(gemma.entries(**change), gemma.tensors), says)
    same = {
        "gemma3__attention__sliding_window_pattern": ("u32", 6),
        "gemma3__rope__freq_base_swa": ("f32", 10_000.0),
        "gemma3__rope__scaling__factor": ("f32", 1.0),
    }
    read_architecture(GGUFFile(file_with(tmp_path, gguf_bytes(gemma.entries(**same), gemma.tensors))))


def test_a_tensor_without_a_place_is_refused(tmp_path):
    tensors = {**MODEL.tensors, "blk.0.attn_q.bias": MODEL.tensors["blk.0.attn_norm.weight"]}
    refused(tmp_path, gguf_bytes(MODEL.entries(), tensors), "blk.0.attn_q.bias", "no place")


def test_codes_of_the_functions_are_those_of_the_errors(tmp_path):
    assert api.error_message(3) != api.error_message(99) == api.error_message(12345)
    with pytest.raises(ModelError) as caught:
        GGUFFile(file_with(tmp_path, b"GGUF"))
    assert (caught.value.code, caught.value.retriable, caught.value.http_status) == (3, False, 422)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes in folders")
def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ModelError, match="no file"):
            load_model(path)
    with pytest.raises(ModelError, match="no path"):
        load_model("a\0b")


@pytest.mark.skipif(sys.platform == "win32", reason="there a file in use cannot become shorter")
def test_a_file_that_became_shorter_is_an_error_not_the_end(tmp_path, gpucore_context):
    path = file_with(tmp_path, WHOLE)
    with load_model(path, context=gpucore_context) as model:
        os.truncate(path, 5000)
        with pytest.raises(ModelError, match="became shorter"):
            model.check_residency()
