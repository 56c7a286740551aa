"""Keep the event log of answers and stream it to browsers."""
