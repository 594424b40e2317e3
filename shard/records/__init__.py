"""Frozen records, which cross between launcher, hosts and disk, and decide nothing: plain data, no I/O beyond JSON."""
