"""Deduplication: documents that stand in a dataset more than once, word for word or nearly, and what is left of it.

The way through it:

    text ─▶ words ─▶ hashes, minhash ─▶ signatures     a row for each document, by a scheme (settings)
    signatures beside shards (header, unsigned), made while streaming or of tokens (text, signing)
      here:      unitfile   files of this machine      ┐
      on hosts:  questions ─▶ answers ─▶ gathered      ┴─▶ parts    keys of all documents, numbered
    parts ─▶ find: pairs (DuckDB), groups, clusters ─▶ lists        what is removed
      here:      run, rewrite (processes)              ┐
      on hosts:  remaining, in a rank                  ┴─▶ copying  shards of what is left
"""
