"""The Batch API: input, parallel execution, results and remote batches."""
