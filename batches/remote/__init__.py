"""Follow batches that run on a backend's own Batch API."""
