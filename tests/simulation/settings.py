"""Settings of the simulation: the simulated database, and no Redis."""

from __future__ import annotations

from tests.settings import *  # noqa: F403 - the settings of the tests, changed below

DATABASES = {
    "default": {
        "ENGINE": "tests.simulation.machine.sqlite",
        "NAME": ":memory:",
        "CONN_MAX_AGE": None,
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
CHANNEL_LAYERS = {"default": {"BACKEND": "tests.simulation.machine.layer.SimulatedLayer"}}
