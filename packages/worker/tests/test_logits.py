"""Logits: against NumPy in f64, and the same bits however a prompt is cut, on whatever device."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from gguf_writer import TinyModel
from reference import logits as reference

from gpucore_worker import load_model

TOKENS = np.random.default_rng(9).integers(3, 259, 90).tolist()


def logits_of(model, context, tmp_path, tokens=TOKENS, **options):
    with load_model(model.write(tmp_path / "model.gguf"), context=context) as loaded:
        return loaded.logits(tokens, **options)


def test_logits_are_those_of_numpy(gpucore_context, tiny, tmp_path):
    found = logits_of(tiny, gpucore_context, tmp_path)
    assert found.shape == (90, 320) and found.dtype == np.float32
    expected = reference(tiny, TOKENS)
    assert np.abs(found - expected).max() < 1e-3
    assert np.abs(expected).max() > 1


def test_quantised_and_tied_logits_are_those_of_numpy(gpucore_context, tmp_path):
    model = TinyModel(
        2, width=256, hidden=256, kind="Q4_1", token_embd="Q8_0", attn_q="Q4_K", ffn_down="Q6_K", tied=True
    )
    found = logits_of(model, gpucore_context, tmp_path, TOKENS[:40])
    assert np.abs(found - reference(model, TOKENS[:40])).max() < 1e-3


def test_logits_of_qwen2_are_those_of_numpy(gpucore_context, tmp_path):
    model = TinyModel(4, name="qwen2")
    found = logits_of(model, gpucore_context, tmp_path, TOKENS[:70])
    expected = reference(model, TOKENS[:70])
    assert np.abs(found - expected).max() < 1e-3
    changed = perturbed(model, "blk.1.attn_k.bias")
    assert np.abs(reference(changed, TOKENS[:70]) - expected).max() > 0.02
    assert (
        np.abs(
            logits_of(changed, gpucore_context, tmp_path, TOKENS[:70]) - reference(changed, TOKENS[:70])
        ).max()
        < 1e-3
    )


GEMMA = {"blocks": 7, "heads": 2, "shared": 1, "size": 64, "tied": True}
"""Five blocks with a window, one without, one more with."""


def test_logits_of_gemma3_are_those_of_numpy(gpucore_context, tmp_path):
    model = TinyModel(7, name="gemma3", **GEMMA)
    found = logits_of(model, gpucore_context, tmp_path)
    expected = reference(model, TOKENS)
    assert np.abs(found - expected).max() < 1e-3
    # beyond the window of 48 it matters, and so do norms of heads and the one block without
    wide = copy.copy(model)
    wide.window = 90
    difference = np.abs(reference(wide, TOKENS) - expected).max(axis=1)
    assert difference[:48].max() < 1e-9 and difference[48:].max() > 0.05
    for name in ("blk.0.attn_q_norm.weight", "blk.2.post_ffw_norm.weight", "blk.5.attn_k.weight"):
        changed = perturbed(model, name)
        assert np.abs(reference(changed, TOKENS) - expected).max() > 0.02
        got = logits_of(changed, gpucore_context, tmp_path)
        assert np.abs(got - reference(changed, TOKENS)).max() < 1e-3


def test_logits_of_gpt2_are_those_of_numpy(gpucore_context, tmp_path):
    model = TinyModel(8, name="gpt2", shared=4)
    found = logits_of(model, gpucore_context, tmp_path)
    expected = reference(model, TOKENS)
    assert np.abs(found - expected).max() < 1e-3
    for name in ("position_embd.weight", "blk.1.attn_qkv.bias", "blk.0.ffn_norm.bias", "blk.1.ffn_up.bias"):
        changed = perturbed(model, name)
        assert np.abs(reference(changed, TOKENS) - expected).max() > 0.02
        got = logits_of(changed, gpucore_context, tmp_path)
        assert np.abs(got - reference(changed, TOKENS)).max() < 1e-3


@pytest.mark.parametrize(
    "options", [{"name": "gemma3", **GEMMA}, {"name": "gpt2", "shared": 4}], ids=["gemma3", "gpt2"]
)
def test_the_bits_of_other_architectures_do_not_depend_on_how_a_prompt_is_cut(
    gpucore_context, tmp_path, options
):
    model = TinyModel(9, **options)
    with load_model(model.write(tmp_path / "model.gguf"), context=gpucore_context) as loaded:
        loaded.check_residency()
        whole = loaded.logits(TOKENS, chunk=90)
        for chunk in (1, 7):
            np.testing.assert_array_equal(
                loaded.logits(TOKENS, chunk=chunk).view(np.uint32), whole.view(np.uint32)
            )


def test_heads_of_any_even_size_are_read(gpucore_context, tmp_path):
    model = TinyModel(6, width=96, heads=2, shared=1, blocks=1)  # of 48
    found = logits_of(model, gpucore_context, tmp_path, TOKENS[:20])
    assert np.abs(found - reference(model, TOKENS[:20])).max() < 1e-3


def test_the_bits_do_not_depend_on_how_a_prompt_is_cut(gpucore_context, tiny, tiny_path):
    with load_model(tiny_path, context=gpucore_context) as model:
        whole = model.logits(TOKENS, chunk=90)
        for chunk in (1, 7, 64):
            np.testing.assert_array_equal(
                model.logits(TOKENS, chunk=chunk).view(np.uint32), whole.view(np.uint32)
            )


def test_the_bits_do_not_depend_on_threads_a_row(gpucore_context, tiny_path):
    with load_model(tiny_path, context=gpucore_context, split=False) as rows:
        expected = rows.logits(TOKENS[:10])
    with load_model(tiny_path, context=gpucore_context, split=True) as segments:
        np.testing.assert_array_equal(segments.logits(TOKENS[:10]).view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("options", [{}, {"name": "gemma3", **GEMMA}], ids=["llama", "gemma3"])
def test_tiles_beside_each_other_give_the_bits_of_tiles_in_a_row(gpucore_context, tmp_path, options):
    model = TinyModel(4, **{**options, "context": 300, "blocks": 2})
    tokens = (
        np.random.default_rng(3).integers(0, 256, 290).tolist()
    )  # of five tiles; the cache grows from four to eight
    path = model.write(tmp_path / "model.gguf")
    with load_model(path, context=gpucore_context, split=False) as loaded:
        in_a_row = loaded.logits(tokens, chunk=145)
    assert np.abs(in_a_row - reference(model, tokens)).max() < 1e-3
    with load_model(path, context=gpucore_context, split=True) as loaded:
        one_by_one = loaded.logits(tokens, chunk=1)
        np.testing.assert_array_equal(one_by_one.view(np.uint32), in_a_row.view(np.uint32))


def test_a_token_after_many_has_the_bits_that_it_has_among_them(gpucore_context, tmp_path):
    path = TinyModel(5, kind="Q4_1", context=1200, blocks=2).write(tmp_path / "model.gguf")
    tokens = np.random.default_rng(4).integers(0, 256, 1091).astype(np.int32)  # of 18 tiles
    found = []
    for split, chunk in ((False, 3), (True, 1)):
        with load_model(path, context=gpucore_context, split=split, mode="quick") as loaded:
            cache = loaded.network.new_cache()
            loaded.network.advance(cache, tokens[:1088], chunk=544)
            found.append(
                loaded.network.advance(cache, tokens[1088:], every=True, chunk=chunk).view(np.uint32)
            )
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("mode", "options"),
    [("quick", {"name": "qwen2", "kind": "Q4_1"}),
     ("exact", {"name": "qwen2", "kind": "Q5_1", "attn_v": "Q8_0", "ffn_up": "Q8_0"}),
     ("exact", {"width": 96, "heads": 2, "shared": 1}),
     ("quick", {"kind": "Q4_0", "attn_k": "F16", "attn_output": "Q5_0"})],
    ids=["qwen2", "qwen2 mixed", "heads of 48", "llama mixed"],
)  # fmt: skip
def test_one_token_on_a_gpu_has_the_bits_of_processors(gpucore_context, tmp_path, mode, options):
    path = TinyModel(12, **{"blocks": 2, **options}).write(tmp_path / "model.gguf")
    found = []
    for split, chunk in ((False, 12), (True, 1)):
        with load_model(path, context=gpucore_context, split=split, mode=mode) as loaded:
            found.append(loaded.logits(TOKENS[:12], chunk=chunk).view(np.uint32))
    np.testing.assert_array_equal(*found)


def perturbed(model, name):
    changed = copy.copy(model)
    kind, shape, raw = model.tensors[name]
    w = np.frombuffer(raw, "<f4").copy()
    w[5::11] *= 1.5
    changed.tensors = {**model.tensors, name: (kind, shape, w.tobytes())}
    return changed


@pytest.mark.parametrize(
    "name",
    ["token_embd.weight", "blk.0.attn_norm.weight", "blk.1.attn_k.weight", "blk.0.attn_v.weight", "blk.1.ffn_down.weight",
     "output_norm.weight"],
)  # fmt: skip
def test_a_perturbed_tensor_changes_logits_as_numpy_says(gpucore_context, tiny, tmp_path, name):
    changed = perturbed(tiny, name)
    expected = reference(changed, TOKENS[:12])
    assert np.abs(expected - reference(tiny, TOKENS[:12])).max() > 0.02
    assert np.abs(logits_of(changed, gpucore_context, tmp_path, TOKENS[:12]) - expected).max() < 1e-3


def test_swapped_blocks_change_logits_as_numpy_says(gpucore_context, tiny, tmp_path):
    changed = copy.copy(tiny)
    swap = {"blk.0.": "blk.1.", "blk.1.": "blk.0."}
    changed.tensors = {swap.get(n[:6], n[:6]) + n[6:]: t for n, t in tiny.tensors.items()}
    expected = reference(changed, TOKENS[:12])
    assert np.abs(expected - reference(tiny, TOKENS[:12])).max() > 0.1
    assert np.abs(logits_of(changed, gpucore_context, tmp_path, TOKENS[:12]) - expected).max() < 1e-3


def test_a_context_may_be_filled_and_no_further(gpucore_context, tmp_path):
    from gpucore_worker.errors import InferenceError, ParameterError

    model = TinyModel(3, context=70, blocks=1)
    with load_model(model.write(tmp_path / "m.gguf"), context=gpucore_context) as loaded:
        found = loaded.logits(TOKENS[:70])
        assert np.abs(found[-1] - reference(model, TOKENS[:70])[-1]).max() < 1e-3
        with pytest.raises(InferenceError, match="71 tokens do not fit the context of 70"):
            loaded.logits(TOKENS[:71])
        for bad in ([], [320], [-1], [1.5], [[1]]):
            with pytest.raises(ParameterError):
                loaded.logits(bad)


@pytest.mark.parametrize(
    "options", [{"kind": "Q4_1"}, {"kind": "Q8_0", "name": "gemma3", **GEMMA}], ids=["llama", "gemma3"]
)
def test_quick_mode_is_near_exact_mode_and_has_its_own_bits(gpucore_context, tmp_path, options):
    path = TinyModel(11, **options).write(tmp_path / "model.gguf")
    with load_model(path, context=gpucore_context) as loaded:
        exact = loaded.logits(TOKENS)
    with load_model(path, context=gpucore_context, mode="quick") as loaded:
        found = loaded.logits(TOKENS, chunk=90)
        for chunk in (1, 7):
            np.testing.assert_array_equal(
                loaded.logits(TOKENS, chunk=chunk).view(np.uint32), found.view(np.uint32)
            )
    assert (found != exact).any()
    assert np.mean(divergence(exact, found)) < 0.006
    assert np.mean(found.argmax(1) == exact.argmax(1)) >= 0.9


def divergence(exact, found):
    """Kullback and Leibler's, a token."""
    p, q = (
        x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) - x.max(1, keepdims=True)
        for x in (exact.astype(np.float64), found.astype(np.float64))
    )
    return (np.exp(p) * (p - q)).sum(1)
