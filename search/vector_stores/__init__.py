"""Serve collections as OpenAI's vector stores: a store is a collection, and a file of a store is a document."""
