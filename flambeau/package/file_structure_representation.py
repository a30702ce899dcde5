"""What lies in a package, as a tree."""

from flambeau.package.glob_group import GlobGroup, GlobPattern

__all__ = ["Directory"]


class Directory:
    """A file, or a directory with what is in it."""

    def __init__(self, name: str, is_dir: bool):
        self.name, self.is_dir = name, is_dir
        self.children: dict[str, Directory] = {}

    def _get_dir(self, dirs):
        found = self
        for name in dirs:
            found = found.children.setdefault(name, Directory(name, True))
        return found

    def _add_file(self, file_path: str):
        *dirs, name = file_path.split("/")
        self._get_dir(dirs).children[name] = Directory(name, False)

    def has_file(self, filename: str) -> bool:
        """Whether there is such a path."""
        first, _, rest = filename.partition("/")
        child = self.children.get(first)
        return child is not None and (not rest or child.has_file(rest))

    def __str__(self):
        return "".join(self._lines("", "─── "))

    def _lines(self, before, pointer):
        yield f"{before}{pointer}{self.name}\n"
        before += "│   " if pointer == "├── " else "    "
        children = sorted(self.children.items(), key=lambda item: (not item[1].is_dir, item[0]))
        for i, (name, child) in enumerate(children):
            last = "└── " if i == len(children) - 1 else "├── "
            if child.is_dir:
                yield from child._lines(before, last)
            else:
                yield f"{before}{last}{name}\n"


def _create_directory_from_file_list(filename: str, file_list, include: GlobPattern = "**", exclude: GlobPattern = ()):
    """The tree of the files that match."""
    wanted = GlobGroup(include, exclude=exclude, separator="/")
    top = Directory(filename, True)
    for file in file_list:
        if wanted.matches(file):
            top._add_file(file)
    return top
