"""The multi-turn tool loop."""
