"""C++ extensions: finding a compiler, and building what needs none of PyTorch's headers.

There is no C++ library here to build against: sources that include PyTorch's headers are refused by name. Plain C++, with the
Python headers or none, is built with the system's compiler.
"""

import hashlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from flambeau.version import __version__

__all__ = [
    "get_default_build_root", "check_compiler_ok_for_platform", "get_compiler_abi_compatibility_and_version", "BuildExtension",  # noqa: F822 (made when asked for)
    "CppExtension", "CUDAExtension", "SyclExtension", "include_paths", "library_paths", "load", "load_inline",
    "is_ninja_available", "verify_ninja_availability", "remove_extension_h_precompiler_headers", "get_cxx_compiler",
    "check_compiler_is_gcc",
]  # fmt: skip

logger = logging.getLogger(__name__)
IS_WINDOWS, IS_MACOS, IS_LINUX = (
    sys.platform == "win32",
    sys.platform.startswith("darwin"),
    sys.platform.startswith("linux"),
)
MINIMUM_GCC_VERSION = (5, 0, 0)
_ACCEPTED = ("clang++", "clang") if IS_MACOS else ("g++", "gcc", "gnu-c++", "gnu-cc", "clang++", "clang")
_HEADERS = re.compile(r'^\s*#\s*include\s*[<"](torch|ATen|c10|caffe2|pybind11)/', re.MULTILINE)


def _find_cuda_home():
    """Where CUDA is installed; None if it is not."""
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    compiler = shutil.which("nvcc")
    if named or compiler:
        return named or str(Path(compiler).parent.parent)
    return "/usr/local/cuda" if os.path.exists("/usr/local/cuda") else None


CUDA_HOME = _find_cuda_home()


# ---- the compiler ------------------------------------------------------------------------------------------------
def get_cxx_compiler():
    """$CXX, or the system's."""
    return os.environ.get("CXX", "cl" if IS_WINDOWS else "c++")


def get_default_build_root() -> str:
    """Where extensions are built, each in a directory of its own."""
    if IS_WINDOWS:
        base = os.environ.get("LOCALAPPDATA", os.path.expanduser("~"))
    else:
        base = os.path.expanduser("~/Library/Caches" if IS_MACOS else os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    return os.path.realpath(os.path.join(base, "torch_extensions"))


def _output(*command) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment).stdout


def check_compiler_is_gcc(compiler) -> bool:
    """Whether a compiler is GCC, on Linux."""
    if not IS_LINUX or shutil.which(compiler) is None:
        return False
    text = _output(compiler, "-v")
    found = re.findall(r"^COLLECT_GCC=(.*)$", text, re.MULTILINE)
    if len(found) != 1:
        return False
    path = os.path.realpath(found[0].strip())
    return (os.path.basename(path) == "c++" and "gcc version" in text) or any(n in path for n in ("g++", "gcc"))


def check_compiler_ok_for_platform(compiler: str) -> bool:
    """Whether a compiler is one of those that extensions are usually built with here."""
    if IS_WINDOWS:
        return True
    path = shutil.which(compiler)
    if path is None:
        return False
    if any(name in os.path.realpath(path) for name in _ACCEPTED) or check_compiler_is_gcc(compiler):
        return True
    text = _output(compiler, "-v")
    return text.startswith("Apple clang") if IS_MACOS else "clang version" in text


def get_compiler_abi_compatibility_and_version(compiler):
    """(whether what a compiler makes goes with what is there, its version)."""
    version_of = type(__version__)
    if os.environ.get("TORCH_DONT_CHECK_COMPILER_ABI") in ("ON", "1", "YES", "TRUE", "Y"):
        return True, version_of("0.0.0")
    if not check_compiler_ok_for_platform(compiler):
        logger.warning("%s is not one of the compilers that extensions are built with here: %s", compiler, _ACCEPTED)
        return False, version_of("0.0.0")
    if IS_MACOS:
        return True, version_of("0.0.0")
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", _output(compiler, "-dumpfullversion", "-dumpversion"))
    numbers = found.groups() if found else ("0", "0", "0")
    good = tuple(map(int, numbers)) >= MINIMUM_GCC_VERSION
    if not good:
        logger.warning("%s %s is older than %s", compiler, ".".join(numbers), MINIMUM_GCC_VERSION)
    return good, version_of(".".join(numbers))


def is_ninja_available():
    """Whether Ninja is installed."""
    return shutil.which("ninja") is not None


def verify_ninja_availability():
    """Raises if Ninja is not installed."""
    if not is_ninja_available():
        raise RuntimeError("Ninja is required to load C++ extensions (pip install ninja to get it)")


def include_paths(device_type: str = "cpu", torch_include_dirs=True) -> list[str]:
    """Directories of headers: CUDA's where it is asked for. There are none of this library."""
    return [os.path.join(CUDA_HOME, "include")] if device_type == "cuda" and CUDA_HOME else []


def library_paths(device_type: str = "cpu", torch_include_dirs: bool = True, cross_target_platform: str | None = None):
    """Directories of libraries: CUDA's where it is asked for. There are none of this library."""
    return [os.path.join(CUDA_HOME, "lib64")] if device_type == "cuda" and CUDA_HOME else []


def remove_extension_h_precompiler_headers():
    """There are no precompiled headers: nothing to remove."""


def _refuse(name, text, where):
    found = _HEADERS.search(text)
    if found is not None:
        raise NotImplementedError(f"torch.utils.cpp_extension.{name} of {where}, which includes <{found[1]}/...>")


# ---- setuptools --------------------------------------------------------------------------------------------------
def CppExtension(name, sources, *args, **kwargs):
    """A `setuptools.Extension` in C++."""
    import setuptools

    kwargs["include_dirs"] = [*kwargs.get("include_dirs", ()), *include_paths()]
    kwargs["language"] = "c++"
    return setuptools.Extension(name, sources, *args, **kwargs)


def CUDAExtension(name, sources, *args, **kwargs):
    """Not there: it would need PyTorch's headers."""
    raise NotImplementedError("torch.utils.cpp_extension.CUDAExtension")


def SyclExtension(name, sources, *args, **kwargs):
    """Not there: it would need PyTorch's headers."""
    raise NotImplementedError("torch.utils.cpp_extension.SyclExtension")


def _build_extension():
    """The class, made when it is asked for: setuptools may be missing, or slow to import."""
    from setuptools.command.build_ext import build_ext

    class BuildExtension(build_ext):
        """`build_ext` that refuses sources which include PyTorch's headers, and passes flags by language.

        `extra_compile_args` may be a dict; its "cxx" is for C++.
        """

        @classmethod
        def with_options(cls, **options):
            """The class with options given ahead."""

            class WithOptions(cls):
                def __init__(self, *args, **kwargs) -> None:
                    super().__init__(*args, **{**kwargs, **options})

            return WithOptions

        def __init__(self, *args, **kwargs) -> None:
            for option in ("no_python_abi_suffix", "use_ninja"):
                setattr(self, option, kwargs.pop(option, False))
            super().__init__(*args, **kwargs)

        def build_extensions(self) -> None:
            """Builds all of them."""
            for extension in self.extensions:
                for source in extension.sources:
                    _refuse("BuildExtension", Path(source).read_text(), source)
                if isinstance(extension.extra_compile_args, dict):
                    extension.extra_compile_args = extension.extra_compile_args.get("cxx", [])
                extension.extra_compile_args.append(f"-DTORCH_EXTENSION_NAME={extension.name.rpartition('.')[2]}")
            super().build_extensions()

        def get_ext_filename(self, ext_name):
            """The file's name; without Python's suffix, if that was asked for."""
            name = super().get_ext_filename(ext_name)
            if not self.no_python_abi_suffix:
                return name
            parts = name.split(".")
            return ".".join([*parts[:-2], parts[-1]]) if len(parts) > 2 else name

    BuildExtension.__module__ = __name__
    BuildExtension.__qualname__ = "BuildExtension"
    return BuildExtension


def __getattr__(name):
    if name == "BuildExtension":
        globals()[name] = found = _build_extension()
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ---- building at run time ----------------------------------------------------------------------------------------
def _flags(*groups):
    return [flag for group in groups for flag in ([group] if isinstance(group, str) else group or ())]


def load(name, sources, extra_cflags=None, extra_cuda_cflags=None, extra_sycl_cflags=None, extra_ldflags=None,
         extra_include_paths=None, build_directory=None, verbose=False, with_cuda=None, with_sycl=None, is_python_module=True,
         is_standalone=False, keep_intermediates=True):  # fmt: skip
    """Builds sources in plain C++ and loads the result: a Python module, a library (its path), or a program (its path).

    What was built is used again as long as sources, flags and compiler stay the same.
    """
    if with_cuda or with_sycl:
        raise NotImplementedError(f"torch.utils.cpp_extension.load(with_{'cuda' if with_cuda else 'sycl'}=True)")
    sources = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    texts = [Path(source).read_text() for source in sources]
    for source, text in zip(sources, texts, strict=True):
        _refuse("load", text, source)
    compiler, root = get_cxx_compiler(), build_directory or os.path.join(get_default_build_root(), name)
    os.makedirs(root, exist_ok=True)
    command = [compiler, "-std=c++17", "-O2", *([] if is_standalone else ["-shared", "-fPIC"]),
               f"-DTORCH_EXTENSION_NAME={name}", f"-I{sysconfig.get_paths()['include']}",
               *(f"-I{path}" for path in extra_include_paths or ()), *_flags(extra_cflags)]  # fmt: skip
    if IS_MACOS and not is_standalone:
        command += ["-undefined", "dynamic_lookup"]
    links = _flags(extra_ldflags)
    key = hashlib.sha256("\0".join([*command, *links, *texts, sys.version, str(__version__)]).encode()).hexdigest()[:16]
    target = os.path.join(root, f"{name}_{key}" + ("" if is_standalone else ".so"))
    if not os.path.exists(target):
        made = f"{target}.{os.getpid()}"
        command += [*map(os.fspath, sources), "-o", made, *links]
        if verbose:
            print(" ".join(command))
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"Error building extension '{name}': {done.stdout}")
        os.replace(made, target)
    if is_standalone:
        return target
    return _imported(name, target) if is_python_module else target


def _imported(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_inline(name, cpp_sources, cuda_sources=None, sycl_sources=None, functions=None, extra_cflags=None,
                extra_cuda_cflags=None, extra_sycl_cflags=None, extra_ldflags=None, extra_include_paths=None,
                build_directory=None, verbose=False, with_cuda=None, with_sycl=None, is_python_module=True,
                with_pytorch_error_handling=True, keep_intermediates=True, use_pch=False, no_implicit_headers=False):  # fmt: skip
    """Builds sources given as text: `no_implicit_headers=True` is needed, since PyTorch's header would be included otherwise."""
    if not no_implicit_headers or functions is not None:
        raise NotImplementedError(
            "torch.utils.cpp_extension.load_inline with PyTorch's headers (no_implicit_headers=True, without functions=, builds "
            "plain C++)"
        )
    if cuda_sources or sycl_sources:
        raise NotImplementedError("torch.utils.cpp_extension.load_inline of CUDA or SYCL sources")
    root = build_directory or os.path.join(get_default_build_root(), name)
    os.makedirs(root, exist_ok=True)
    text = "\n".join([cpp_sources] if isinstance(cpp_sources, str) else cpp_sources)
    path = os.path.join(root, "main.cpp")
    if not os.path.exists(path) or Path(path).read_text() != text:
        Path(path).write_text(text)
    return load(name, path, extra_cflags, extra_ldflags=extra_ldflags, extra_include_paths=extra_include_paths,
                build_directory=root, verbose=verbose, with_cuda=with_cuda, with_sycl=with_sycl,
                is_python_module=is_python_module)  # fmt: skip
