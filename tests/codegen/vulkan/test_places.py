"""Indices of local memories, which NIR reads when a loop or a branch has changed them already."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_combinations import defined, indices, unknown
from test_narrow_integers import text_of

from gpucore.ir.text import parse

FEATURE = "OpaquePlaces"
SUMS = """\
module ir=1 ndim=1 math=strict

kernel @k(&x: {kind}[?]) {{
  memory &t: local {kind}[4]
  %zero: {index} = const 0
  %one: {index} = const 1
  %last: {index} = const 3
  %first: {kind} = load &x[%zero]
  store &t[%last], %first
  for %j: {index} = %zero to %last step %one {{
    %a: {kind} = load &t[%j]
    %k: {index} = add %j, %one
    %b: {kind} = load &t[%k]
    %s: {kind} = add %a, %b
    store &t[%j], %s
  }}
  %r: {kind} = load &t[%zero]
  store &x[%zero], %r
}}
"""


@pytest.mark.parametrize("index", ["i32", "i64"])
@pytest.mark.parametrize("kind", ["u8", "i32", "f32", "u64"])
def test_no_compiler_knows_an_index_of_local_memory_for_one_that_changes(full_target, validate, kind, index):
    from gpucore.hookspecs import CompileOptions
    from gpucore_vulkan.spirv import emit

    module = parse(SUMS.format(kind=kind, index=index))
    plain = replace(full_target, features=full_target.features - {FEATURE, "OpaqueConstants", "OpaqueOnes"})
    hiding = replace(plain, features=plain.features | {FEATURE})
    validate(emit(hiding, module, CompileOptions()).words)
    text, shown = text_of(hiding, module), text_of(plain, module)
    assert [unknown(text, at) for at in indices(text)] == [False, True, True, True, False]
    # without the feature the last of the loop is the loop's own variable, as the first is
    places = indices(shown)
    assert not any(unknown(shown, at) for at in places)
    assert places[1] == places[3]
    assert defined(shown, places[1])[0] == "OpPhi"
