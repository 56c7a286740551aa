"""The clients, breakers and limits of the running process."""
