"""Chains of backends: fallback, breakers and load sharing."""
