"""Template filters of the search pages."""
