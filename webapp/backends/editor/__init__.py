"""The route editor: drafts, their picture, and test questions."""
