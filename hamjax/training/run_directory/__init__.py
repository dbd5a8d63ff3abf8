"""What a run leaves: its record, its checkpoints."""
