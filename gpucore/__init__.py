"""gpucore."""
