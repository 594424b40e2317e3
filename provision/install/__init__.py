"""Provisioning: the package onto hosts, and before that the keys that lead to them."""
