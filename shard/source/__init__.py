"""Sources: bytes of pinned files → batches of text."""
