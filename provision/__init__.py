"""The launcher: hosts.txt and a dataset name in, a plan, a script and a watched run out."""

from importlib.metadata import version

__version__ = version("shardfleet")
