"""Patchbay."""

import os

# numpy's BLAS would start a thread a core for each product, and they spin while they wait: beside a busy server one embedding then takes
# 450 ms instead of 18. One thread a call, and several calls at once where there is much to do (webapp.builtin.embedding). Read when numpy
# is first imported, hence here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
