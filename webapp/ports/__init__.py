"""Interfaces that one app offers to the others."""
