"""Floor 0: flags, errors, generated source, the disk cache, trees. Imports nothing of ours."""
