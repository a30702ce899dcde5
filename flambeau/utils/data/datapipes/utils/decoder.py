"""From the bytes of a file to what is in it, by the file's extension."""

import functools
import importlib
import io
import json
import os.path
import pickle
import tempfile

import numpy as np

import flambeau

from .common import StreamWrapper

__all__ = [
    "Decoder", "ImageHandler", "MatHandler", "audiohandler", "basichandlers", "extension_extract_fn", "handle_extension",
    "imagehandler", "mathandler", "videohandler",
]  # fmt: skip


def basichandlers(extension: str, data):
    """Text, numbers, JSON, tensors; and pickles, which may run anything: only of files that one trusts."""
    if extension in "txt text transcript":
        return data.decode("utf-8")
    if extension in ("cls", "cls2", "class", "count", "index", "inx", "id"):
        try:
            return int(data)
        except ValueError:
            return None
    if extension in "json jsn":
        return json.loads(data)
    if extension in ("pyd", "pickle"):
        return pickle.loads(data)
    return flambeau.load(io.BytesIO(data)) if extension == "pt" else None


# name -> (what it becomes, of which numbers, with which channels)
imagespecs = {
    **{p + m + "8": (k, "uint8", m) for p, k in (("", "numpy"), ("torch", "torch")) for m in ("l", "rgb", "rgba")},
    **{p + m: (k, "float", m) for p, k in (("", "numpy"), ("torch", "torch")) for m in ("l", "rgb", "rgba")},
    "torch": ("torch", "float", "rgb"),
    "pil": ("pil", None, "rgb"), "pill": ("pil", None, "l"), "pilrgb": ("pil", None, "rgb"), "pilrgba": ("pil", None, "rgba"),
}  # fmt: skip


def handle_extension(extensions, f):
    """f, for these extensions only."""
    wanted = [e.split(".") for e in extensions.lower().split()]

    def g(key, data):
        found = key.lower().split(".")
        for target in wanted:
            if len(target) <= len(found):
                return f(data) if found[-len(target) :] == target else None
        return None

    return g


class ImageHandler:
    """Pictures, as arrays, tensors (channels first) or pictures of Pillow's."""

    def __init__(self, imagespec) -> None:
        if imagespec not in imagespecs:
            raise AssertionError(f"unknown image specification: {imagespec}")
        self.imagespec = imagespec.lower()

    def __call__(self, extension, data):
        if extension.lower() not in ("jpg", "jpeg", "png", "ppm", "pgm", "pbm", "pnm"):
            return None
        try:
            import PIL.Image
        except ModuleNotFoundError as e:
            raise ModuleNotFoundError(
                "Package `PIL` is required to be installed for default image decoder."
                "Please use `pip install Pillow` to install the package"
            ) from e
        kind, numbers, mode = imagespecs[self.imagespec]
        with io.BytesIO(data) as stream:
            img = PIL.Image.open(stream)
            img.load()
            img = img.convert(mode.upper())
        if kind == "pil":
            return img
        array = np.asarray(img)
        if kind == "torch":
            tensor = flambeau.tensor(np.array(array.transpose(2, 0, 1)))
            return tensor if numbers == "uint8" else tensor / 255.0
        return array if numbers == "uint8" else array.astype("f") / 255.0


def imagehandler(imagespec):
    """A handler of pictures."""
    return ImageHandler(imagespec)


def _by_file(extension, data, load):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, f"file.{extension}")
        with open(path, "wb") as file:
            file.write(data)
        return load(path)


def _needed(name, purpose):
    try:
        return importlib.import_module(name)
    except ImportError as e:
        top = name.partition(".")[0]
        raise ModuleNotFoundError(
            f"Package `{top}` is required to be installed for {purpose}.Please use `pip install {top}`to install the package"
        ) from e


def videohandler(extension, data):
    """Videos, by torchvision."""
    if extension not in ("mp4", "ogv", "mjpeg", "avi", "mov", "h264", "mpg", "webm", "wmv"):
        return None
    return _by_file(extension, data, _needed("torchvision.io", "default video file loader").read_video)


def audiohandler(extension, data):
    """Sound, by torchaudio."""
    if extension not in ("flac", "mp3", "sox", "wav", "m4a", "ogg", "wma"):
        return None
    return _by_file(extension, data, _needed("torchaudio", "default audio file loader").load)


class MatHandler:
    """MATLAB's files, by SciPy."""

    def __init__(self, **loadmat_kwargs) -> None:
        self.load = functools.partial(_needed("scipy.io", "mat file").loadmat, **loadmat_kwargs)

    def __call__(self, extension, data):
        return self.load(io.BytesIO(data)) if extension == "mat" else None


def mathandler(**loadmat_kwargs):
    """A handler of MATLAB's files."""
    return MatHandler(**loadmat_kwargs)


def extension_extract_fn(pathname):
    """The extension, without its dot."""
    return os.path.splitext(pathname)[1].removeprefix(".")


class Decoder:
    """Asks handlers `f(extension, bytes)` in turn; the first that does not give None has decoded it."""

    def __init__(self, *handler, key_fn=extension_extract_fn) -> None:
        self.handlers, self.key_fn = list(handler), key_fn

    def add_handler(self, *handler) -> None:
        """Handlers that are asked first."""
        self.handlers = [*handler, *self.handlers]

    @staticmethod
    def _is_stream_handle(data):
        return isinstance(data.file_obj if isinstance(data, StreamWrapper) else data, (io.BufferedIOBase, io.RawIOBase))

    def decode1(self, key, data):
        """What one file holds."""
        if not data:
            return data
        if self._is_stream_handle(data):
            stream, data = data, b"".join(data)
            stream.close()
        for f in self.handlers:
            result = f(key, data)
            if result is not None:
                return result
        return data

    def decode(self, data):
        """{path: what the file holds} of pairs (path, bytes or stream)."""
        result = {}
        for k, v in [data] if isinstance(data, tuple) else data or ():
            if k[0] == "_" and isinstance(v, bytes):
                result[k] = v.decode("utf-8")
            else:
                result[k] = self.decode1(self.key_fn(k), v)
        return result

    def __call__(self, data):
        return self.decode(data)
