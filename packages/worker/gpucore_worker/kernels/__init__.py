"""What runs on the device, in gpucore's kernel language."""
