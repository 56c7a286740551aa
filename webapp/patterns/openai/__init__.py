"""Speak the dialects of OpenAI-compatible servers: classify their refusals, and repair requests that they refuse."""
