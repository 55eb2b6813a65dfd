"""``gpucore demo``: kernels on a photograph and a terrain, checked against NumPy, timed, and drawn."""
