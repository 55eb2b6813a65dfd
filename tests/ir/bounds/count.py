"""Prove the accesses of many random kernels again, seed by seed, into a file that a later run goes on with.

    python tests/ir/bounds/count.py 0 5000 counts.jsonl       # as long as it takes
    python tests/ir/bounds/count.py 0 5000 counts.jsonl --seconds 60 --proven   # not those on conditions

Prints what Z3 found of all seeds in the file; a wrong proof ends the run with the kernel.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from pathlib import Path

import oracle
import random_kernels

import gpucore as gc


def counts_of(seed: int, conditions: bool) -> dict[str, int] | None:
    """What was found of the kernel of a seed; None where it is no kernel."""
    with random_kernels.kernel_of(random_kernels.text_of(seed)) as kernel:
        try:
            module = kernel.ir(*random_kernels.TYPES, ndim=1)
        except (gc.KernelSyntaxError, gc.KernelTypeError):
            return None
    return oracle.judge(module, is_range=False, conditions=conditions)


def main() -> None:
    """Go on where the file ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=int)
    parser.add_argument("end", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no kernel after them")
    parser.add_argument("--timeout", type=int, default=oracle.TIMEOUT, help="ms for one question")
    parser.add_argument("--proven", action="store_true", help="ask for proven accesses alone")
    options = parser.parse_args()
    oracle.TIMEOUT = options.timeout
    warnings.simplefilter("ignore", gc.errors.RaceWarning)
    lines = options.file.read_text().splitlines() if options.file.exists() else []
    known = {seed: counts for seed, counts in map(json.loads, lines)}
    stop = time.monotonic() + options.seconds
    with options.file.open("a") as file:
        for seed in range(options.first, options.end):
            if seed in known:
                continue
            if time.monotonic() > stop:
                break
            known[seed] = counts_of(seed, not options.proven)
            file.write(json.dumps([seed, known[seed]]) + "\n")
            file.flush()
    kernels = [counts for counts in known.values() if counts is not None]
    total = sum(map(Counter, kernels), Counter())
    print(
        f"{len(kernels)} kernels of {len(known)} seeds:",
        ", ".join(f"{n} {what}" for what, n in total.items()),
    )


if __name__ == "__main__":
    main()
