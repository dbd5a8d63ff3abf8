"""Everything that a config determines before the first step."""
