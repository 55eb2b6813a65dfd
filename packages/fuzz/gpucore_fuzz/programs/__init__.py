"""The generator ``values``: random kernels as Python text, judged by a reference in Python's own numbers.

It shares nothing with the generators of IR modules, nor with gpucore's interpreter: programs are trees of their own
(:mod:`~gpucore_fuzz.programs.tree`), written out as the file that a user would save, and evaluated with Python's integers
and floats and NumPy's scalars (:mod:`~gpucore_fuzz.programs.arithmetic`), from what ``docs/numerics.md`` promises.
"""
