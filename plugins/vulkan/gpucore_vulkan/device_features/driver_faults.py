"""Faults of drivers that no probe can show in safety, known by the driver's name."""

from __future__ import annotations

__all__ = ["known_faults"]


def known_faults(driver: str) -> frozenset[str]:
    """The features of a target that work around the faults of a driver, which has named itself."""
    found: set[str] = set()
    if "Mesa" in driver:
        # NIR unrolls loops with two ways out wrongly when a condition is a conjunction, and undoes loops that
        # never repeat wrongly when they hold another that threads leave one by one (both seen in 22.3.6)
        found |= {"DontUnroll", "OpaqueBreaks"}
    if driver.startswith("NVIDIA"):
        # seen in 580.159, all in some kernels and not in others: expressions of two 64-bit quotients are taken for the
        # same one; numbers of 64 bits and floats converted into each other mix with others, or are never made; narrow
        # integers keep bits above their dtype's; a choice between -0.0 and 1.0 or -1.0 loses the sign of zero
        found |= {"OwnDivision64", "SplitConversions", "OpaqueNarrowing", "OpaqueOnes"}
        # minima and maxima of 64 bits are computed in 32; negatives, masked bits and comparisons are combined wrongly, as
        # by ptxas; halves of a rotation are rotated; what is compared with a literal 0.0 loses its sign, quotients of
        # f64 literals are no NaN
        found |= {
            "OpaqueComparisons64",
            "OpaqueNegatives",
            "OpaqueEqualities",
            "OpaqueBits",
            "OpaqueLiterals",
            "OpaqueRotations",
        }
    if driver.startswith("llvmpipe"):
        # an atomic whose operand was a float before a bitcast aborts the process (seen in 22.3.6)
        found.add("OpaqueAtomics")
        # loops one behind the other take a time that grows with the fourth power of their number to compile (seen in 22.3.6)
        found.add("ShortLoopChains")
    return frozenset(found)
