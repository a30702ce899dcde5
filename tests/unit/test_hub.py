"""torch.hub without a network: local repositories, a small server on this machine, hashes, trust."""

import functools
import hashlib
import http.server
import os
import threading
import zipfile

import pytest

import flambeau
from flambeau import hub


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub, "_hub_dir", None)
    return tmp_path


@pytest.fixture
def served(home):
    """(a folder, the address that serves its files)."""
    folder = home / "www"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *args: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def repository(home):
    folder = home / "repo"
    folder.mkdir()
    (folder / "parts.py").write_text("def layer(n):\n    import flambeau\n    return flambeau.nn.Linear(n, 2)\n")
    (folder / "hubconf.py").write_text(
        "dependencies = ['flambeau']\nfrom parts import layer as _layer\n\ndef small(n=3):\n    '''A small model.'''\n    return _layer(n)\n"
    )
    return folder


def test_local_repositories(repository):
    assert hub.load(str(repository), "small", source="local").in_features == 3
    assert hub.load(repository, "small", 5, source="local").in_features == 5
    assert hub.load(f"file://{repository}", "small", n=4, source="local").in_features == 4
    with pytest.raises(RuntimeError, match="Cannot find callable large in hubconf"):
        hub.load(repository, "large", source="local")
    with pytest.raises(ValueError, match="Unknown source"):
        hub.load(repository, "small", source="elsewhere")
    (repository / "hubconf.py").write_text("dependencies = ['no_such_package']\ndef small(): pass\n")
    with pytest.raises(RuntimeError, match="Missing dependencies: no_such_package"):
        hub.load(repository, "small", source="local")


def test_folders(home, tmp_path):
    assert hub.get_dir() == str(home / "home" / "hub")
    hub.set_dir(tmp_path / "other")
    assert hub.get_dir() == str(tmp_path / "other")


def test_weights(served):
    folder, address = served
    flambeau.save({"w": flambeau.arange(3)}, folder / "plain.pth")
    digest = hashlib.sha256((folder / "plain.pth").read_bytes()).hexdigest()
    os.replace(folder / "plain.pth", folder / f"net-{digest[:8]}.pth")
    state = hub.load_state_dict_from_url(f"{address}/net-{digest[:8]}.pth", check_hash=True, progress=False)
    assert state["w"].tolist() == [0, 1, 2]
    kept = os.path.join(hub.get_dir(), "checkpoints", f"net-{digest[:8]}.pth")
    assert os.path.exists(kept)
    os.remove(folder / f"net-{digest[:8]}.pth")  # the second time it is at hand
    assert hub.load_state_dict_from_url(f"{address}/net-{digest[:8]}.pth", progress=False)["w"].tolist() == [0, 1, 2]


def test_weights_from_a_file_address(home, capsys):
    """`file://` is an address like others: what is there is copied to the cache, with a bar that tells how far."""
    flambeau.save({"w": flambeau.arange(3)}, home / "net.pth")
    state = hub.load_state_dict_from_url((home / "net.pth").as_uri(), map_location="cpu", weights_only=True)
    shown = capsys.readouterr().err
    assert state["w"].tolist() == [0, 1, 2]
    assert "100" in shown and "%" in shown
    kept = os.path.join(hub.get_dir(), "checkpoints")
    assert os.listdir(kept) == ["net.pth"]
    hub.load_state_dict_from_url((home / "net.pth").as_uri(), str(home / "own"), file_name="other.pth", progress=False)
    assert os.listdir(home / "own") == ["other.pth"]
    assert capsys.readouterr().err.count("%") == 0


def test_a_file_is_checked_and_replaced_whole(home):
    (home / "data").write_bytes(b"abc" * 100_000)
    address, target = (home / "data").as_uri(), home / "target"
    target.write_bytes(b"before")
    digest = hashlib.sha256((home / "data").read_bytes()).hexdigest()
    with pytest.raises(RuntimeError, match="invalid hash value"):
        hub.download_url_to_file(address, str(target), hash_prefix="0" * 8, progress=False)
    assert target.read_bytes() == b"before"
    hub.download_url_to_file(address, str(target), hash_prefix=digest[:8], progress=False)
    assert target.stat().st_size == 300_000
    assert sorted(p.name for p in home.iterdir()) == ["data", "target"]


def test_a_wrong_hash_leaves_nothing(served, tmp_path):
    folder, address = served
    (folder / "net-00000000.pth").write_bytes(b"not that")
    with pytest.raises(RuntimeError, match="invalid hash value"):
        hub.load_state_dict_from_url(
            f"{address}/net-00000000.pth", str(tmp_path / "kept"), check_hash=True, progress=False
        )
    assert os.listdir(tmp_path / "kept") == []


def test_an_archive_with_one_old_file(served, tmp_path):
    folder, address = served
    flambeau.save(flambeau.ones(2), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(folder / "old.zip", "w") as z:
        z.write(tmp_path / "old.pt", "old.pt")
    with pytest.warns(UserWarning, match="old format"):
        assert hub.load_state_dict_from_url(f"{address}/old.zip", progress=False).tolist() == [1.0, 1.0]


def cached(home, repository):
    folder = home / "home" / "hub" / "somebody_things_main"
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(repository, folder)
    return "somebody/things:main"


def test_cached_repositories_and_trust(home, repository, monkeypatch, capsys):
    name = cached(home, repository)
    with pytest.raises(Exception, match="Untrusted repository"):
        monkeypatch.setattr("builtins.input", lambda question: "n")
        hub.load(name, "small", trust_repo="check")
    monkeypatch.setattr("builtins.input", lambda question: "y" if "somebody_things" in question else "n")
    assert hub.load(name, "small", trust_repo="check").in_features == 3
    monkeypatch.setattr("builtins.input", lambda question: pytest.fail("asked twice"))
    assert hub.list(name, trust_repo="check") == ["small"]
    assert hub.help(name, "small", trust_repo="check") == "A small model."
    assert "Using cache found in" in capsys.readouterr().err
    monkeypatch.setattr("builtins.input", lambda question: "n")  # False asks each time, listed or not
    with pytest.raises(Exception, match="Untrusted repository"):
        hub.load(name, "small", trust_repo=False)


def test_archives_stay_inside_their_folder(home):
    with zipfile.ZipFile(home / "bad.zip", "w") as z:
        z.writestr("root/a.py", "")
        z.writestr("root/../../escaped.py", "")
    with pytest.raises(RuntimeError, match="outside of itself"):
        hub._unpack(str(home / "bad.zip"), str(home / "out"), str(home))
