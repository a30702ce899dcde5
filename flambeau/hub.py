"""Models from repositories: `torch.hub`. A repository is a folder, or an archive on GitHub, with a `hubconf.py` whose functions are its models.

Archives and weights are kept below `$TORCH_HOME/hub` (or `~/.cache/torch/hub`), laid out as PyTorch lays them out. Code of a repository on
GitHub runs only if its owner is trusted: known to be, listed, or confirmed by the person at the keyboard.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import types
import uuid
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import flambeau

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")  # a file name's tail: the first digits of the file's sha256
MODULE_HUBCONF = "hubconf.py"
VAR_DEPENDENCY = "dependencies"
READ_DATA_CHUNK = 128 * 1024
_TRUSTED = (  # owners whose code PyTorch runs without asking
    "facebookresearch",
    "facebookincubator",
    "pytorch",
    "fairinternal",
)
_TOKEN = "GITHUB_TOKEN"
_hub_dir: str | None = None
_list = list


def _get_torch_home() -> str:
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.getenv("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """The folder that repositories and weights are kept in."""
    if os.getenv("TORCH_HUB"):
        warnings.warn("TORCH_HUB is deprecated, please use env TORCH_HOME instead", stacklevel=2)
    return _hub_dir if _hub_dir is not None else os.path.join(_get_torch_home(), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Keep repositories and weights in another folder."""
    global _hub_dir
    _hub_dir = os.path.expanduser(d)


# ---------------------------------------------------------------- repositories


@contextlib.contextmanager
def _on_path(path: str) -> Any:
    sys.path.insert(0, path)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(path)


def import_module(name: str, path: str) -> types.ModuleType:
    """The module that a file is."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _parse_repo_info(github: str) -> tuple[str, str, str]:
    """(owner, name, branch or tag) of `owner/name[:branch]`."""
    info, _, ref = github.partition(":")
    if info.count("/") != 1:
        raise ValueError(f"hub: expected a repository as 'owner/name[:branch]', got {github!r}")
    owner, name = info.split("/")
    if not ref:
        ref = _default_branch(owner, name)
    return owner, name, ref


def _default_branch(owner: str, name: str) -> str:
    """`main` where the repository has it, else `master`; without a network, what the cache has."""
    try:
        with urlopen(f"https://github.com/{owner}/{name}/tree/main/"):
            return "main"
    except HTTPError as problem:
        if problem.code == 404:
            return "master"
        raise
    except URLError as problem:
        for branch in ("main", "master"):
            if os.path.exists(os.path.join(get_dir(), f"{owner}_{name}_{branch}")):
                return branch
        raise RuntimeError(
            f"It looks like there is no internet connection and the repo could not be found in the cache ({get_dir()})"
        ) from problem


def _read_url(request: Request) -> str:
    with urlopen(request) as answer:
        return answer.read().decode(answer.headers.get_content_charset("utf-8"))


def _github_headers() -> dict[str, str]:
    headers = {"Accept": "application/vnd.github.v3+json"}
    if os.environ.get(_TOKEN):
        headers["Authorization"] = f"token {os.environ[_TOKEN]}"
    return headers


def _validate_not_a_forked_repo(owner: str, name: str, ref: str) -> None:
    """A commit of a fork can be asked for under the original's name: refuse what is no branch or tag of it."""
    for kind in ("branches", "tags"):
        page = 0
        while True:
            page += 1
            url = f"https://api.github.com/repos/{owner}/{name}/{kind}?per_page=100&page={page}"
            answer = json.loads(_read_url(Request(url, headers=_github_headers())))
            if not answer:
                break
            if any(b["name"] == ref or b["commit"]["sha"].startswith(ref) for b in answer):
                return
    raise ValueError(
        f"Cannot find {ref} in https://github.com/{owner}/{name}. If it's a commit from a forked repo, please call hub.load() with "
        "forked repo directly."
    )


def _check_repo_is_trusted(owner: str, name: str, folder: str, trust_repo: Any) -> None:
    """Ask before the code of an owner runs for the first time."""
    known = os.path.join(get_dir(), "trusted_list")
    os.makedirs(get_dir(), exist_ok=True)
    Path(known).touch()
    entry = f"{owner}_{name}"
    trusted = entry in Path(known).read_text().split() or owner in _TRUSTED
    kept = any(d.startswith(entry + "_") for d in os.listdir(get_dir()) if os.path.isdir(os.path.join(get_dir(), d)))
    if trust_repo is False or (trust_repo == "check" and not trusted):
        answer = input(
            f"The repository {entry} does not belong to the list of trusted repositories and as such cannot be downloaded. "
            "Do you trust this repository and wish to add it to the trusted list of repositories (y/N)?"
        )
        if answer.strip().lower() not in ("y", "yes"):
            raise Exception("Untrusted repository.")
    elif trust_repo is None and not (trusted or kept):
        warnings.warn(
            "You are about to download and run code from an untrusted repository. In a future release, this won't be allowed. To add the "
            "repository to your trusted list, change the command to {calling_fn}(..., trust_repo=False) and a command prompt will appear "
            "asking for an explicit confirmation of trust, or {calling_fn}(..., trust_repo=True), which will assume that the prompt is "
            "to be answered with 'yes'. You can also use {calling_fn}(..., trust_repo='check') which will only prompt for "
            "confirmation if the repo is not already trusted. This will eventually be the default behaviour",
            stacklevel=4,
        )
        return
    if not trusted and trust_repo is not None:
        with open(known, "a") as f:
            f.write(entry + "\n")


def _get_cache_or_reload(
    github: str, force_reload: bool, trust_repo: Any, verbose: bool = True, skip_validation: bool = False
) -> str:
    """The folder of a repository on GitHub: from the cache, or fetched."""
    owner, name, ref = _parse_repo_info(github)
    os.makedirs(get_dir(), exist_ok=True)
    normalised = ref.replace("/", "_")
    folder = os.path.join(get_dir(), f"{owner}_{name}_{normalised}")
    _check_repo_is_trusted(owner, name, folder, trust_repo)
    if os.path.exists(folder) and not force_reload:
        if verbose:
            sys.stderr.write(f"Using cache found in {folder}\n")
        return folder
    if not skip_validation:
        _validate_not_a_forked_repo(owner, name, ref)
    url = f"https://github.com/{owner}/{name}/zipball/{ref}"
    sys.stdout.write(f'Downloading: "{url}" to {folder}\n')
    with tempfile.TemporaryDirectory(dir=get_dir()) as scratch:
        archive = os.path.join(scratch, "archive.zip")
        download_url_to_file(url, archive, progress=False)
        _unpack(archive, folder, scratch)
    return folder


def _unpack(archive: str, folder: str, scratch: str) -> None:
    """The only folder of an archive, in place of `folder`."""
    with zipfile.ZipFile(archive) as z:
        root = z.infolist()[0].filename.split("/")[0]
        for member in z.namelist():
            path = os.path.normpath(member)
            if os.path.isabs(path) or path.startswith(".."):
                raise RuntimeError(f"hub: the archive has a path outside of itself: {member!r}")
        z.extractall(scratch)
    if os.path.exists(folder):
        shutil.rmtree(folder)
    os.replace(os.path.join(scratch, root), folder)


def _check_dependencies(module: Any) -> None:
    wanted = getattr(module, VAR_DEPENDENCY, None)
    if wanted is not None:
        missing = [name for name in wanted if not _has_module(name)]
        if missing:
            raise RuntimeError(f"Missing dependencies: {', '.join(missing)}")


def _has_module(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _load_entry_from_hubconf(module: Any, model: str) -> Callable[..., Any]:
    if not isinstance(model, str):
        raise ValueError("Invalid input: model should be a string of function name")
    _check_dependencies(module)
    fn = getattr(module, model, None)
    if fn is None or not callable(fn):
        raise RuntimeError(f"Cannot find callable {model} in hubconf")
    return fn


def _folder_of(
    repo_or_dir: Any, source: str, force_reload: bool, trust_repo: Any, verbose: bool, skip_validation: bool
) -> str:
    source = source.lower()
    if source not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    if source == "github":
        return _get_cache_or_reload(repo_or_dir, force_reload, trust_repo, verbose, skip_validation)
    path = os.fspath(repo_or_dir)
    return urlparse(path).path if path.startswith("file://") else path


def _hubconf(folder: str) -> Any:
    with _on_path(folder):
        return import_module(MODULE_HUBCONF, os.path.join(folder, MODULE_HUBCONF))


def list(
    github: Any, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = None, verbose: bool = True
) -> _list[str]:
    """The names of a repository's models."""
    folder = _get_cache_or_reload(github, force_reload, trust_repo, verbose, skip_validation)
    module = _hubconf(folder)
    return [f for f in dir(module) if callable(getattr(module, f)) and not f.startswith("_")]


def help(
    github: Any, model: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = None
) -> str | None:
    """What a repository says about one of its models."""
    folder = _get_cache_or_reload(github, force_reload, trust_repo, True, skip_validation)
    return _load_entry_from_hubconf(_hubconf(folder), model).__doc__


def load(repo_or_dir: Any, model: str, *args: Any, source: str = "github", trust_repo: Any = None, force_reload: bool = False,
         verbose: bool = True, skip_validation: bool = False, **kwargs: Any) -> Any:  # fmt: skip
    """A model of a repository: what the function `model` of its `hubconf.py` gives for the other arguments.

    Arguments:
        repo_or_dir: `owner/name[:branch]`, or with `source="local"` a folder or its `file://` address.
        trust_repo: for repositories on GitHub: True (run its code), "check" (ask, unless it is trusted), False (ask), None (warn).
        force_reload: fetch it again.
    """
    folder = _folder_of(repo_or_dir, source, force_reload, trust_repo, verbose, skip_validation)
    with _on_path(folder):
        return _load_entry_from_hubconf(import_module(MODULE_HUBCONF, os.path.join(folder, MODULE_HUBCONF)), model)(
            *args, **kwargs
        )


# ---------------------------------------------------------------- files


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Fetch a file; it appears at `dst` when it is complete and, where `hash_prefix` is given, its sha256 begins so."""
    dst = os.path.expanduser(dst)
    request = Request(url, headers={"User-Agent": "torch.hub"})
    for _ in range(tempfile.TMP_MAX):
        part = f"{dst}.{uuid.uuid4().hex}.partial"
        try:
            f = open(part, "w+b")
        except FileExistsError:
            continue
        break
    else:
        raise FileExistsError(errno.EEXIST, "No usable temporary file name found")
    digest = hashlib.sha256()
    try:
        with f, urlopen(request) as answer:
            size = answer.headers.get("Content-Length")
            bar = _progress(None if size is None else int(size), progress)
            with bar:
                while chunk := answer.read(READ_DATA_CHUNK):
                    f.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
        if hash_prefix is not None and not digest.hexdigest().startswith(hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")')
        os.replace(part, dst)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(part)


def __getattr__(name: str) -> Any:
    if name == "tqdm":  # where other programs look for it
        try:
            from tqdm import tqdm

            return tqdm
        except ImportError:
            return _Percent
    raise AttributeError(f"module 'torch.hub' has no attribute {name!r}")


class _Quiet(contextlib.AbstractContextManager):  # type: ignore[type-arg]
    """Counts nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        return None

    def update(self, n: int) -> None:
        pass


class _Percent(_Quiet):
    """Shows how far a download is, where tqdm is not installed."""

    def __init__(self, total: int | None = None, disable: bool = False, **kwargs: Any) -> None:
        self.total, self.disable, self.n = total, disable, 0

    def update(self, n: int) -> None:
        if not self.disable:
            self.n += n
            sys.stderr.write(f"\r{self.n:.1f} bytes" if self.total is None else f"\r{100 * self.n / self.total:.1f}%")
            sys.stderr.flush()

    def __exit__(self, *exc: object) -> None:
        if not self.disable:
            sys.stderr.write("\n")


def _progress(total: int | None, wanted: bool) -> Any:
    if not wanted:
        return _Quiet()
    return __getattr__("tqdm")(total=total, unit="B", unit_scale=True, unit_divisor=1024)


def load_state_dict_from_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True,
                             check_hash: bool = False, file_name: str | None = None, weights_only: bool = False) -> Any:  # fmt: skip
    """The object in a file of `torch.save`, fetched once and kept.

    Arguments:
        model_dir: where it is kept (default: `checkpoints` below the hub's folder).
        check_hash: the file's name ends in the first digits of its sha256 (`name-1a2b3c4d.pth`), which must be right.
        file_name: what it is called there (default: as in the address).
    """
    if os.getenv("TORCH_MODEL_ZOO"):
        warnings.warn("TORCH_MODEL_ZOO is deprecated, please use env TORCH_HOME instead", stacklevel=2)
    folder = os.path.join(get_dir(), "checkpoints") if model_dir is None else model_dir
    os.makedirs(folder, exist_ok=True)
    name = file_name if file_name is not None else os.path.basename(urlparse(url).path)
    cached = os.path.join(folder, name)
    if not os.path.exists(cached):
        sys.stdout.write(f'Downloading: "{url}" to {cached}\n')
        found = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, cached, found[1] if found else None, progress=progress)
    if _is_legacy_zip(cached):
        warnings.warn(
            "Falling back to the old format < 1.6. This support will be deprecated in favor of default zipfile format introduced in 1.6. "
            "Please redo torch.save() to save it in the new zipfile format.",
            stacklevel=2,
        )
        return _legacy_zip(cached, folder, map_location, weights_only)
    return flambeau.load(cached, map_location=map_location, weights_only=weights_only)


def _is_legacy_zip(path: str) -> bool:
    """Whether a file is an archive that holds one file of the format before zip archives."""
    return zipfile.is_zipfile(path) and len(zipfile.ZipFile(path).infolist()) == 1


def _legacy_zip(path: str, folder: str, map_location: Any, weights_only: bool) -> Any:
    with zipfile.ZipFile(path) as z:
        (member,) = z.infolist()
        with z.open(member) as inside, tempfile.NamedTemporaryFile(dir=folder) as out:
            shutil.copyfileobj(inside, out)
            out.flush()
            return flambeau.load(out.name, map_location=map_location, weights_only=weights_only)
