"""While a run is on: its jobs sent, its events read and shown, its hosts tended."""
