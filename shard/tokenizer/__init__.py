"""Tokenizers: an engine that is fast, and a reference that is right."""
