"""The dialects of OpenAI-compatible servers: what their refusals mean, and which of them a changed request avoids."""
