"""``gpucore bench``: gpucore beside what one would use instead, on this machine, in one run.

Every result is checked against NumPy before anything is timed.  The contenders of one row alternate sample by sample, so
that a machine whose speed drifts slows them alike; medians and quartiles are kept, and rows carry the measured limit
(copy bandwidth or peak multiply-add) that they are a fraction of.
"""
