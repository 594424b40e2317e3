"""Deduplication of what a run has left on hosts: keys come here, removal lists go back."""
