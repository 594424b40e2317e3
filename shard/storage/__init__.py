"""Shards on disk: directories opened, files that appear whole, payloads written and read again."""
