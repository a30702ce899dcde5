"""Passes: what one is, what runs several, what groups nodes."""
