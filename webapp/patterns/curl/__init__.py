"""Write and read cURL commands."""
