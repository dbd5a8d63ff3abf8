"""What a run tells a person: text, figures and one HTML page."""
