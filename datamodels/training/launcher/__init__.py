"""Filling a store with rows: one command, several engines."""
