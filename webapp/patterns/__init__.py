"""The pattern services: pure async Python over OpenAI-compatible APIs, usable without Django."""
