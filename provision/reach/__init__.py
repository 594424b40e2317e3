"""How hosts are reached: files and processes there, pdsh over all of them, what still runs."""
