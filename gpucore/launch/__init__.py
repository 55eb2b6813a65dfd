"""Kernels on the host: specialization, the launch functions, bound launches, native code."""
