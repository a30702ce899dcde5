"""What is said of single modules when a graph is prepared: those that are not looked into, attributes that stay."""

from __future__ import annotations

from typing import Any

__all__ = ["ConvertCustomConfig", "FuseCustomConfig", "PrepareCustomConfig"]


class _Config:
    _known: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.preserved_attributes: list[str] = []

    def set_preserved_attributes(self, attributes: list[str]) -> Any:
        """Attributes of the model that the graph keeps."""
        self.preserved_attributes = list(attributes)
        return self

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> Any:
        """From a dict of lists."""
        made = cls()
        for name, value in config.items():
            if not value:
                continue
            if name not in ("preserved_attributes", *cls._known):
                raise NotImplementedError(
                    f"torch.ao.quantization.fx: {name!r} in a custom configuration is not implemented"
                )
            getattr(made, f"set_{name}s" if hasattr(made, f"set_{name}s") else f"set_{name}")(value)
        return made

    def to_dict(self) -> dict[str, Any]:
        """As a dict of lists."""
        return {"preserved_attributes": self.preserved_attributes} if self.preserved_attributes else {}


class FuseCustomConfig(_Config):
    """For `fuse_fx`."""


class ConvertCustomConfig(_Config):
    """For `convert_fx`."""


class PrepareCustomConfig(_Config):
    """For `prepare_fx`: modules that are not looked into, by name or class."""

    _known = ("non_traceable_module_name", "non_traceable_module_class")

    def __init__(self) -> None:
        super().__init__()
        self.non_traceable_module_names: list[str] = []
        self.non_traceable_module_classes: list[Any] = []

    def set_non_traceable_module_names(self, names: list[str]) -> PrepareCustomConfig:
        self.non_traceable_module_names = list(names)
        return self

    def set_non_traceable_module_classes(self, classes: list[Any]) -> PrepareCustomConfig:
        self.non_traceable_module_classes = list(classes)
        return self

    set_non_traceable_module_classs = set_non_traceable_module_classes

    def to_dict(self) -> dict[str, Any]:
        out = super().to_dict()
        if self.non_traceable_module_names:
            out["non_traceable_module_name"] = self.non_traceable_module_names
        if self.non_traceable_module_classes:
            out["non_traceable_module_class"] = self.non_traceable_module_classes
        return out
