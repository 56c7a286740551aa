"""Patchbay."""

import os

# numpy's BLAS starts one thread per core for each product, and waiting threads spin: next to a busy server one embedding then takes 450 ms
# instead of 18. So a call uses one thread, and webapp.builtin.embedding.encoder runs several at once. numpy reads the variable on import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
