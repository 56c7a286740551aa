"""Answer a query above its results: a language model writes from the best passages, and cites them by number."""
