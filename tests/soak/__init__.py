"""Chat, gateway, batches and search together, for minutes, against a flaky upstream, while the server is killed and started again."""
