"""What a run is to do: source files → units → hosts, frozen, and the directory in which it is kept."""
