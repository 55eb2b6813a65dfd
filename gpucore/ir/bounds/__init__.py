"""Which accesses of a kernel stay inside their arrays; see docs/bounds.md and docs/architecture.md.

``analysis`` finds it out, ``conditions`` evaluates on the host what an access depends on.
"""
