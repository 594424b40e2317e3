"""Shards → the files that a trainer reads, one format a module."""
