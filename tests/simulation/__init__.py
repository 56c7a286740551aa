"""Run whole installations of Patchbay in one process, with simulated time, and check that nothing is lost or doubled.

`python -m tests.simulation --seeds 1000` runs a thousand seeds. A seed decides everything: the order of events, the speed of the database
and the network, what the backends answer, when processes die, and how clocks jump. A run that breaks an invariant prints its seed, and
`--seed N` repeats that run exactly. docs/testing.md describes the design.

- `machine` replaces what an operating system provides: clocks, randomness, event loops, threads, the network, and the database server.
- `scenarios` start the product's own services on these machines, act as their users, and check the outcome.
"""
