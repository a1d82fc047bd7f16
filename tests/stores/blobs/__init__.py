"""Places for message bodies."""
