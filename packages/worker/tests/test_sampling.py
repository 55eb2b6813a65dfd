"""Samplers, on chances whose right choice is known."""

from __future__ import annotations

import numpy as np
import pytest

from gpucore_worker.sampling import Sampler, Sampling

LOGITS = np.log(np.array([0.1, 0.4, 0.05, 0.25, 0.2], np.float32))
NONE = np.array([], np.int32)


def drawn(context, logits=LOGITS, before=NONE, **options):
    sampler = Sampler(context, Sampling(**{"temperature": 1.0, **options}), len(logits))
    found = [sampler.choose(logits, step, before) for step in range(150)]
    sampler.free()
    return found


def test_top_k_draws_among_the_likeliest(gpucore_context):
    assert set(drawn(gpucore_context, top_k=2)) == {1, 3}
    assert set(drawn(gpucore_context, top_k=1)) == {1}


def test_top_p_draws_among_the_fewest_that_reach_it(gpucore_context):
    assert set(drawn(gpucore_context, top_p=0.6)) == {1, 3}
    assert set(drawn(gpucore_context, top_p=0.7)) == {1, 3, 4}


def test_min_p_draws_among_those_near_the_likeliest(gpucore_context):
    assert set(drawn(gpucore_context, min_p=0.45)) == {1, 3, 4}


def test_temperature_flattens(gpucore_context):
    share = [np.mean(np.equal(drawn(gpucore_context, temperature=t), 1)) for t in (0.3, 1.0, 5.0)]
    assert share[0] > share[1] > share[2]


def test_a_repetition_penalty_makes_what_occurred_less_likely(gpucore_context):
    logits = np.array([2.0, 1.9, -0.5, -0.4], np.float32)
    greedy = {"temperature": 0.0}
    assert drawn(gpucore_context, logits, **greedy)[0] == 0
    assert drawn(gpucore_context, logits, np.array([0], np.int32), repetition_penalty=1.2, **greedy)[0] == 1
    negative = np.array([-1.0, -1.1], np.float32)
    assert drawn(gpucore_context, negative, np.array([0], np.int32), repetition_penalty=1.2, **greedy)[0] == 1


def test_equal_logits_go_to_the_first(gpucore_context):
    assert drawn(gpucore_context, np.zeros(4, np.float32), temperature=0.0)[0] == 0


def test_a_logit_that_is_no_number_is_an_error(gpucore_context):
    from gpucore_worker.errors import InferenceError

    with pytest.raises(InferenceError, match="no finite"):
        drawn(gpucore_context, np.array([0, np.nan], np.float32))
