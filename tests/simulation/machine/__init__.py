"""Simulate the machines below the product: clocks, randomness, event loops, threads, the network, and the database."""
