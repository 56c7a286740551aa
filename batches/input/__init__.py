"""Read the files, tables and templates that batches are made from."""
