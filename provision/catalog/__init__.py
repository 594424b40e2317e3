"""Dataset spec → pinned list of source files, from the Hub or from files."""
