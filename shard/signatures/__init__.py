"""What stands for a document in comparisons, a row for each, beside its shard.

text ─▶ words ─▶ hashes, minhash ─▶ rows        while it streams by
shard ─▶ text ─▶ signing ─▶ rows                later, from tokens, where shards lack it (unsigned)
"""
