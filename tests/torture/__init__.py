"""A run that is killed again and again, in every phase."""
