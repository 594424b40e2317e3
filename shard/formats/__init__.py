"""Bytes on disk, one format a file."""
