"""Files of other tools → directories of shards, one format a module."""
