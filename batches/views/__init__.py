"""The pages of the batch monitor."""
