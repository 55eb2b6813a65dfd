"""The fourteen functions for C: a header, and a library that runs Python; ``python -m gpucore_worker.c_api FOLDER`` builds it."""
