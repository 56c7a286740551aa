"""The export formats: each module has `matches(entry)` and `parse(entry, archive)` for one conversation of it."""
