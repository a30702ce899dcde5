"""Packages of compiled models: an exported program in a `.pt2` file, and what runs it without Python's classes of the model.

PyTorch's packages hold a shared library for one machine. These hold the program (the file is that of `export.save`); its kernels are compiled when
it is packaged and kept in the cache, from where loading takes them; on another machine they are compiled at the first call.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import tempfile
from typing import IO, Any

import flambeau
from flambeau._ground import archive
from flambeau.export import ExportedProgram, _archive

_BARE = "constants_are_given_later"  # an extra file of a package whose parameters are not in it


class AOTICompiledModel:
    """A packaged model: called as the module that was exported; results have no history.

    Args:
        program: what was exported.
        bare: without parameters, which `load_constants` brings.
    """

    def __init__(self, program: ExportedProgram, bare: bool = False) -> None:
        self._program, self._missing = program, set(program.state_dict) if bare else set()
        self._module = program.module()
        self._run = flambeau.compile(self._module.forward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._missing:
            raise RuntimeError(f"constants of the model are missing: {', '.join(sorted(self._missing))}; call load_constants first")  # fmt: skip
        with flambeau.no_grad():
            return self._run(*args, **kwargs)

    def get_metadata(self) -> dict[str, str]:
        """For which device the package was made."""
        return {"AOTI_DEVICE_KEY": "cpu"}

    def get_constant_fqns(self) -> list[str]:
        """The names of parameters, buffers and constants."""
        return [*self._program.state_dict, *self._program.constants]

    def load_constants(self, constants_map: dict[str, Any], *, check_full_update: bool, user_managed: bool = False) -> None:  # fmt: skip
        """Other values for parameters, buffers and constants.

        Args:
            check_full_update: raise where one is not given.
            user_managed: keep the given tensors themselves, not copies.
        """
        names = self.get_constant_fqns()
        missing = [n for n in names if n not in constants_map]
        if check_full_update and missing:
            raise RuntimeError(f"load_constants: no value for {', '.join(missing)}")
        for name, value in constants_map.items():
            if name not in names:
                raise RuntimeError(f"load_constants: the model has no constant named {name}")
            *path, last = name.split(".")
            owner: Any = self._module
            for part in path:
                owner = getattr(owner, part)
            old, new = getattr(owner, last), value.detach() if user_managed else value.detach().clone()
            if old.shape != new.shape:
                raise RuntimeError(f"load_constants: {name} has the sizes {tuple(old.shape)}, not {tuple(new.shape)}")
            if isinstance(old, flambeau.nn.Parameter):
                new = flambeau.nn.Parameter(new, requires_grad=old.requires_grad)
            setattr(owner, last, new)
            self._missing.discard(name)

    def loader(self) -> Any:
        """Not here: there is no shared library to load."""
        raise NotImplementedError("the loader of a package's shared library")


def compile_and_package(program: Any, path: Any, configs: dict[str, Any]) -> Any:
    """What `_inductor.aoti_compile_and_package` does."""
    if not isinstance(program, ExportedProgram):
        raise ValueError("Only ExportedProgram is supported")
    if program.example_inputs is None:
        raise RuntimeError("exported_program.example_inputs is required to be set in order for AOTInductor compilation.")  # fmt: skip
    is_file = isinstance(path, (io.IOBase, IO)) and path.writable() and path.seekable()
    if not (path is None or is_file or (isinstance(path, (str, os.PathLike)) and os.fspath(path).endswith(".pt2"))):
        raise AssertionError(f"Expect package path to be a file ending in .pt2, is None, or is a buffer. Instead got {path}")  # fmt: skip
    if configs.get("aot_inductor.output_path"):
        raise RuntimeError("Please pass in a package path to aot_inductor_compile() instead of setting the aot_inductor.output_path config.")  # fmt: skip
    bare = configs.get("aot_inductor.package_constants_in_so", True) is False
    path = os.path.join(tempfile.mkdtemp(), "model.pt2") if path is None else path
    args, kwargs = program.example_inputs
    with flambeau.random.fork_rng():
        _copied(program)(*args, **kwargs)  # compiles its kernels, which the cache keeps
    _archive.save(_without(program) if bare else program, path, extra_files={_BARE: "1"} if bare else None)
    return path


def _without(program: ExportedProgram) -> ExportedProgram:
    """The program with parameters and buffers that take no room: one zero, seen everywhere."""
    made = copy.copy(program)
    made._state = {}
    for name, t in program.state_dict.items():
        empty = flambeau.zeros((), dtype=t.dtype).expand(t.shape)
        made._state[name] = flambeau.nn.Parameter(empty, t.requires_grad) if isinstance(t, flambeau.nn.Parameter) else empty  # fmt: skip
    return made


def _copied(program: ExportedProgram) -> AOTICompiledModel:
    """The model, with copies of the buffers that it may write."""
    model = AOTICompiledModel(program)
    model.load_constants(dict(program.state_dict), check_full_update=False)
    return model


def load_package(path: Any, model_name: str = "model", run_single_threaded: bool = False, num_runners: int = 1,
                 device_index: int = -1) -> AOTICompiledModel:  # fmt: skip
    """The model of a package."""
    if model_name != "model":
        raise RuntimeError(f"Model {model_name} not found in package")
    with open(path, "rb") if isinstance(path, (str, os.PathLike)) else contextlib.nullcontext(path) as file:
        bare = f"extra/{_BARE}" in archive.Reader(file)
        file.seek(0)
        return AOTICompiledModel(_archive.load(file), bare)
