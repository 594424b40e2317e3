"""See the module below."""
