"""What cannot be made without torch.distributed: classes to ask about (nothing is an instance), functions that say so."""

from typing import Any, NoReturn


def absent_class(path: str) -> Any:
    """A class of which nothing is an instance."""
    name = path.rpartition(".")[2]

    def refuse(cls: type, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"{path} is not implemented")

    return type(
        name, (), {"__new__": refuse, "__module__": path.rpartition(".")[0], "__doc__": "None can be made yet."}
    )


def absent_function(path: str) -> Any:
    """A function that says that it cannot work."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"{path} is not implemented")

    refuse.__name__ = refuse.__qualname__ = path.rpartition(".")[2]
    return refuse
