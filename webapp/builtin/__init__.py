"""The built-in OpenAI-compatible backend."""

EMBEDDING_MODEL = "all-MiniLM-L6-v2"
EMBEDDING_DIMENSION = 384
EMBEDDING_WINDOW = 256


class ModelUnavailable(Exception):
    """Report that the weights are missing or not the published ones. The message says what to do."""
