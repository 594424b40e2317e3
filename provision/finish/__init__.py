"""What follows a run: one copy of every unit, the proof, the holdout brought here, exports, the report."""
