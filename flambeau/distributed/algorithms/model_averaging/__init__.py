"""Models averaged over ranks."""
