"""State of `/v1/responses` and `/v1/conversations`: stored responses, their event logs, and the jobs that run in the background."""
