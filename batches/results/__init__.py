"""Read and chart the results of batches."""
