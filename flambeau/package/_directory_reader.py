"""A package that was unpacked into a directory, read like an archive."""

import os

import flambeau


class DirectoryReader:
    """Files as records."""

    def __init__(self, directory):
        self.directory = directory

    def _path(self, name):
        return os.path.join(self.directory, name)

    def get_record(self, name):
        """The bytes of a file."""
        with open(self._path(name), "rb") as f:
            return f.read()

    def get_storage_from_record(self, name, numel, dtype):
        """The elements of a file, as a tensor of one dimension."""
        return (
            flambeau.frombuffer(bytearray(self.get_record(name)), dtype=dtype)
            if numel
            else flambeau.empty(0, dtype=dtype)
        )

    def has_record(self, path):
        """Whether there is such a file."""
        return os.path.isfile(self._path(path))

    def get_all_records(self):
        """The names of all files."""
        found = []
        for directory, _, files in os.walk(self.directory):
            found += [os.path.relpath(os.path.join(directory, f), self.directory).replace(os.sep, "/") for f in files]
        return sorted(found)

    def serialization_id(self):
        """What the archive was called."""
        name = ".data/serialization_id"
        return self.get_record(name) if self.has_record(name) else ""
