"""Random programs on every builtin and dtype, against a reference that shares nothing with gpucore: a fixed budget of them."""

import pytest

from gpucore.errors import NotSupportedError
from gpucore_fuzz.programs.generate import generate
from gpucore_fuzz.programs.run import described, differences, loaded, outputs_of

PROGRAMS, CHUNK = 40, 10


@pytest.mark.parametrize("first", range(0, PROGRAMS, CHUNK))
def test_programs_give_the_bits_of_the_reference(first, gpucore_context):
    refused = 0
    for seed in range(first, first + CHUNK):
        program, wanted = generate(seed)
        with loaded(program) as kernel:
            try:
                found = outputs_of(program, kernel, gpucore_context)
            except NotSupportedError:
                refused += 1
                continue
        again = f"gpucore fuzz --generator values --backend {gpucore_context.backend} --seeds {seed}"
        assert not differences(wanted, found), f"{again}\n{described(program, wanted, found)}"
    assert refused < CHUNK
