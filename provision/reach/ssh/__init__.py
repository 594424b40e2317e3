"""SSH: the client config of a run, and channels to its hosts."""
