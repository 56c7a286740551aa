"""Run the rows of batches."""
