"""Generate an answer: its context, tools and documents."""
