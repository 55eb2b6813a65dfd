"""The interpreter: the definition of what a kernel means.

:func:`interpret` turns a module into Python functions on the user's own lines and runs every thread of
every block, suspended and resumed at barriers.  It checks what devices do not: bounds, asserts, data
races, divergent barriers, shared memory read before it was written.
"""

from gpucore.ir.interpreter.run import interpret

__all__ = ["interpret"]
