"""OpenAI's Responses protocol over any backend: requests, items, tools and events to and from chat completions."""
