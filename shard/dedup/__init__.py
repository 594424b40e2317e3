"""Deduplication: documents that stand in a dataset more than once, word for word or nearly, and what is left of it."""
