"""Streams, files, and checks of functions, for the pipes."""
