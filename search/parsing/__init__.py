"""Turn files into text. Parsers run in a process of their own, bounded in time and memory: see `search.parsing.bounded`."""
