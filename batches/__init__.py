"""Batch jobs: input files, execution, remote batches and results."""
