"""Kernels on the host: specialisation, the launch functions, bound launches, native code."""
