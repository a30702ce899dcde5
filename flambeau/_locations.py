"""The devices that checkpoints name: what a storage's device is called in a file, and where a storage that was read shall go."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flambeau import storage as storages
from flambeau._utils import _public
from flambeau._values import device as devices

NO_CUDA = (
    "Attempting to deserialize object on a {} device but torch.{}.is_available() is False. If you are running on a CPU-only "
    "machine, please use torch.load with map_location=torch.device('cpu') to map your storages to the CPU."
)

_packages: list[tuple[int, Callable[[Any], str | None], Callable[[Any, str], Any]]] = []


def register_package(
    priority: int, tagger: Callable[[Any], str | None], deserializer: Callable[[Any, str], Any]
) -> None:
    """Teach `save` and `load` about a device: what it is called in files, and how to move a storage to it."""
    _packages.append((priority, tagger, deserializer))
    _packages.sort(key=lambda entry: entry[0])


def _to_accelerator(name: str) -> Callable[[Any, str], Any]:
    def restore(storage: Any, location: str) -> Any:
        if location != name and not re.match(f"{name}(:|[0-9]+)", location):
            return None
        return storage.to(device=_validate_device(location, name))

    return restore


def _validate_device(location: str, name: str) -> devices.device:
    try:
        module = _public(f"flambeau.{name}")
    except (ImportError, AttributeError):
        module = None
    if module is None or not module.is_available():
        raise RuntimeError(NO_CUDA.format(name.upper(), name))
    device = devices.device(location)
    if (device.index or 0) >= module.device_count():
        raise RuntimeError(
            f"Attempting to deserialize object on {name.upper()} device {device.index} but torch.{name}.device_count() is "
            f"{module.device_count()}. Please use torch.load with map_location to map your storages to an existing device."
        )
    return device


def validate_cuda_device(location: str) -> int:
    """The index of the CUDA device a location names; refused where there is none."""
    return _validate_device(location, "cuda").index or 0


def validate_hpu_device(location: str) -> int:
    """The index of the HPU device a location names; refused: there is none."""
    return _validate_device(location, "hpu").index or 0


def _tag_of(name: str) -> Callable[[Any], str | None]:
    return lambda storage: str(storage.device) if storage.device.type == name else None


register_package(10, _tag_of("cpu"), lambda storage, location: storage if location == "cpu" else None)
register_package(20, _tag_of("cuda"), _to_accelerator("cuda"))
register_package(
    22,
    _tag_of("meta"),
    lambda storage, location: storages.UntypedStorage(storage.nbytes(), device="meta") if location == "meta" else None,
)
for _rank, _name in enumerate(("mps", "hpu", "xpu", "mtia"), 23):
    register_package(_rank, _tag_of(_name), _to_accelerator(_name))


def location_tag(storage: Any) -> str:
    """What a file calls the device of a storage."""
    for _, tagger, _ in _packages:
        location = tagger(storage)
        if location:
            return location
    raise RuntimeError(f"don't know how to determine data location of {_typename(storage)}")


def default_restore_location(storage: Any, location: str) -> Any:
    """The storage on the device that a location names."""
    for _, _, restore in _packages:
        result = restore(storage, location)
        if result is not None:
            return result
    raise RuntimeError(f"don't know how to restore data location of {_typename(storage)} (tagged with {location})")


def _typename(obj: Any) -> str:
    cls = type(obj)
    return f"{cls.__module__.replace('flambeau', 'torch', 1)}.{cls.__qualname__}"


def _restorer(map_location: Any) -> Callable[[Any, str], Any]:
    """What `map_location` means: a function from a storage (on the CPU) and its location to where it shall be."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda storage, location: default_restore_location(storage, map_location.get(location, location))
    if isinstance(map_location, (str, bytes)):
        where = map_location.decode("ascii") if isinstance(map_location, bytes) else map_location
        return lambda storage, location: default_restore_location(storage, where)
    if isinstance(map_location, devices.device):
        return lambda storage, location: default_restore_location(storage, str(map_location))

    def restore(storage: Any, location: str) -> Any:
        result = map_location(storage, location)
        return default_restore_location(storage, location) if result is None else result

    return restore
