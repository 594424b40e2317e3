"""Deduplication: documents that stand in a dataset more than once, word for word or nearly, and what is left of it.

The way through it:

    a row of key and signature for each document, beside its shard: shard/signatures, by a scheme (shard/records/dedup)
      here:      unitfile   files of this machine      ┐
      on hosts:  questions ─▶ answers ─▶ gathered      ┴─▶ parts    keys of all documents, numbered
    parts ─▶ find: pairs (DuckDB), groups, clusters ─▶ lists        what is removed
      here:      run, rewrite (processes)              ┐
      on hosts:  remaining, in a rank                  ┴─▶ copying  shards of what is left
"""
