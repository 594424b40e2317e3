"""Verification: records against bytes, and the proof that every source row was taken exactly once."""
