"""Engines' stores are read without their daemons, whole or damaged."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerctl.kernel import syscalls
from layerctl.kernel.rooted import Rooted
from layerctl.model import Role
from layerctl.stores import bolt, names, owners
from layerctl.stores.bolt import Bucket, DamagedError
from layerctl.stores.find import stores
from layerctl.stores.store import Container, Image, Store, StoredLayer
from tests.support.stored import Containerd, Docker, Storage, Tree, database, write


class _Maker(Protocol):
    def directory(self, identity: str) -> Path: ...
    def image(self, name: str, layers: list[str], steps: list[str]) -> str: ...
    def container(self, name: str, image: str) -> str: ...


MAKERS: dict[str, Callable[[Path], _Maker]] = {
    "docker": Docker,
    "docker-aufs": lambda root: Docker(root, "aufs"),
    "podman": Storage,
    "containerd": Containerd,
}
CONTAINER = "c0ffee" * 10 + "beef"
STEPS = ["ADD base", "-ENV A=b", "RUN one", "RUN two"]


@pytest.fixture(params=MAKERS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a store with an image of three layers and a container of it."""
    root = tmp_path / "store"
    root.mkdir()
    maker = MAKERS[request.param](root)
    image = maker.image("app:2", ["base", "one", "two"], STEPS)
    maker.container("web", image)
    return root


def _only(root: Path) -> Store:
    (store,) = stores(str(root))
    return store


def test_a_store_is_read(made: Path) -> None:
    store = _only(made)
    assert store.unknown == ()
    assert store.whole
    (image,), (container,) = store.images, store.containers
    assert image.names == ("app:2",)
    assert image.steps == ("RUN two", "RUN one", "ADD base")
    assert len(image.layers) == 3
    assert container.label == "web"
    assert container.layers[-3:] == image.layers
    stack = store.stack(container.layers, writable=True)
    assert len(stack.layers) == len(container.layers)
    assert all(os.path.isdir(layer.path) for layer in stack.layers)
    if store.driver == "aufs":
        assert [layer.permission for layer in stack.layers][:2] == ["rw", "ro+wh"]
    else:
        assert stack.layers[0].role is Role.UPPER
        assert stack.work is not None
    lowers = store.stack(container.layers, writable=False)
    assert lowers.upper is None
    assert [one.path for one in lowers.layers] == [one.path for one in stack.layers]


def test_every_form_of_a_name_is_found(made: Path) -> None:
    store = _only(made)
    (image,), (container,) = store.images, store.containers
    top = store.layers[image.layers[0]]

    def found(name: str) -> list[object]:
        return [one.thing for one in names.find(name, [store])]

    for name in ("web", container.id, f"{container.engine}:web"):
        assert found(name) == [container]
    for name in ("app:2", image.id, image.id.rpartition(":")[2][:12], "image:app:2"):
        assert found(name) == [image]
    assert found("app") == []  # which is app:latest
    for name in (top.directory, f"{top.directory}/usr/bin/x", f"layer:{top.directory}"):
        assert found(name) == [top]
    if store.engine != "containerd":
        assert found(f"layer:{top.id}") == [top]
    for hashed in filter(None, (top.chain, top.diff)):
        assert found(f"layer:{hashed}") == [top]
    assert top.diff
    (named,) = names.find(f"{top.directory}/usr/bin/x", [store])
    assert named.path == "usr/bin/x"
    assert found("nothing-of-this-name") == []


@pytest.mark.parametrize(
    ("place", "root"),
    [
        ("var/lib/docker/containerd/daemon", ""),
        ("var/lib/docker/containerd/daemon", "var/lib/docker"),
        ("var/lib/containerd", ""),
    ],
)
def test_docker_with_an_image_store_of_containerds(tmp_path: Path, place: str, root: str) -> None:
    """containerd forgets a container of Docker's that stops; its snapshot bears the id."""
    maker = Containerd(tmp_path / place, "moby")
    config = maker.image("docker.io/library/app:2", ["base", "one"], ["ADD base", "RUN one"])
    index = maker.images[b"docker.io/library/app:2"]
    assert isinstance(index, dict)
    manifest = index[b"target"][b"digest"].decode()
    maker.container(CONTAINER, "docker.io/library/app:2")
    maker.containers.clear()
    maker.write()
    known = {"Name": "/web", "Image": manifest, "State": {"Running": False, "StartedAt": "2026"}}
    write(tmp_path / "var/lib/docker/containers" / CONTAINER / "config.v2.json", known)
    store = _only(tmp_path / root)
    (image,) = store.images
    assert (image.id, image.config) == (manifest, config)
    assert store.containers == (
        Container("docker", CONTAINER, "web", image.id, ("3", *image.layers), "exited"),
    )
    for name in ("web", "docker:web", CONTAINER[:12]):
        assert [one.thing for one in names.find(name, [store])] == list(store.containers)
    for name in ("app:2", "docker.io/library/app:2", manifest, config, config[7:19]):
        assert [one.thing for one in names.find(name, [store])] == [image]


def test_what_containerd_made_and_never_used_is_no_store(tmp_path: Path) -> None:
    """Docker starts a containerd that makes its directories and keeps nothing in them."""
    maker = Docker(tmp_path)
    maker.container("web", maker.image("app:2", ["base"], ["ADD base"]))
    (tmp_path / "containerd/daemon/io.containerd.snapshotter.v1.overlayfs").mkdir(parents=True)
    store = _only(tmp_path)
    assert (store.engine, store.unknown) == ("docker", ())


def test_an_id_that_is_no_hash_is_a_name_whole(tmp_path: Path) -> None:
    maker = Containerd(tmp_path)
    maker.image("docker.io/library/app:2", ["base"], ["ADD base"])
    maker.container("a-container-called-so", "docker.io/library/app:2")
    (container,) = _only(tmp_path).containers
    assert container.label == "a-container-called-so"
    (named,) = names.find(container.label, [_only(tmp_path)])
    assert named.spelled == "containerd:a-container-called-so"


def test_short_links_of_dockers_are_names(tmp_path: Path) -> None:
    Docker(tmp_path).image("app:2", ["base"], ["ADD base"])
    store = _only(tmp_path)
    (link,) = (tmp_path / "overlay2/l").iterdir()
    for name in (f"l/{link.name}", f"{tmp_path}/overlay2/l/{link.name}"):
        (named,) = names.find(name, [store])
        assert named.thing == next(iter(store.layers.values()))


def test_a_name_that_fits_several_things_gives_all(tmp_path: Path) -> None:
    found = []
    for maker, place in ((Docker, "d"), (Storage, "s")):
        (tmp_path / place).mkdir()
        one = maker(tmp_path / place)
        one.container("web", one.image("app:2", ["base"], ["ADD base"]))
        found += stores(str(tmp_path / place))
    both = names.find("web", found)
    assert sorted(one.spelled for one in both) == ["docker:web", "podman:web"]
    assert [one.spelled for one in names.find("podman:web", found)] == ["podman:web"]


def test_labels(made: Path) -> None:
    store = _only(made)
    (image,), (container,) = store.images, store.containers
    labels = names.labels([store])
    assert labels[store.layers[container.layers[0]].directory] == "web"
    assert [labels[store.layers[one].directory] for one in image.layers] == [
        "app#0", "app#1", "app#2",
    ]  # fmt: skip
    directories = [layer.directory for layer in store.layers.values() if layer.directory]
    found = {path: one.label for path, one in owners.known_of(directories).items() if one.label}
    if made.name == "store":  # a store is found by the directories of its layers
        assert found == labels


def test_evidence_is_read_inside_its_root_alone(tmp_path: Path) -> None:
    """An absolute link means a place on the disk that it came from, and `..` leads no further."""
    disk = tmp_path / "disk"
    Docker(disk / "srv/docker").image("app:2", ["base"], ["ADD base"])
    (disk / "var/lib").mkdir(parents=True)
    (disk / "var/lib/docker").symlink_to("/srv/docker")
    (disk / "etc/docker").mkdir(parents=True)
    write(disk / "etc/docker/daemon.json", {"data-root": "/var/lib/docker"})
    write(disk / "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    (store,) = stores(str(disk))
    assert store.root == f"{disk}/srv/docker"
    assert store.images[0].names == ("app:2",)
    (layer,) = store.layers.values()
    assert layer.directory.startswith(f"{disk}/srv/docker/")
    outside = tmp_path / "outside"
    outside.mkdir()
    (disk / "out").symlink_to("../../../outside")
    root = Rooted(str(disk))
    assert not root.has("/out")
    root.close()


@pytest.mark.parametrize("reason", [0, errno.ENOSYS, errno.EPERM, errno.EAGAIN])
def test_links_are_followed_inside_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    """Without openat2(2), or while others rename and mount (EAGAIN), one name after the other."""
    if reason:

        def missing(*_: object) -> int:
            raise OSError(reason, os.strerror(reason))

        monkeypatch.setattr(syscalls, "openat2", missing)
    disk = tmp_path / "disk"
    (disk / "a/b").mkdir(parents=True)
    (disk / "a/b/file").write_text("inside")
    (tmp_path / "file").write_text("outside")
    (disk / "abs").symlink_to("/a/b")
    (disk / "up").symlink_to("../../file")
    (disk / "file").write_text("top")
    (disk / "loop").symlink_to("loop")
    os.mkfifo(disk / "fifo")
    root = Rooted(str(disk))
    assert root.text("/abs/file") == "inside"
    assert root.text("/a/../up") == "top"
    assert root.text("/abs/../../../file") == "top"
    assert root.real("/abs") == f"{disk}/a/b"
    for path in ("/loop", "/fifo", "/a", "/missing/file"):
        with pytest.raises(OSError):  # noqa: PT011 - any reason is one
            root.read(path)
    root.close()


def _damage(root: Path, seed: int) -> None:
    """Break files of a store, each in one of the ways that files break."""
    chance = random.Random(seed)
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    for path in chance.sample(files, min(len(files), chance.randint(1, 4))):
        raw = bytearray(path.read_bytes())
        how = chance.randrange(6)
        if how == 0:
            path.unlink()
        elif how == 1:
            path.write_bytes(raw[: chance.randrange(len(raw) + 1)])
        elif how == 2:
            path.unlink()
            path.mkdir()
        elif how == 3:
            path.write_bytes(bytes(chance.randrange(256) for _ in raw))
        elif how == 4:
            path.write_text(chance.choice(["[]", "null", '{"a": 1}', "[[[", '"x"', "[" * 10000]))
        else:
            for _ in range(8 if raw else 0):
                raw[chance.randrange(len(raw))] = chance.randrange(256)
            path.write_bytes(raw)


@pytest.mark.parametrize("seed", range(24))
def test_a_damaged_store_gives_what_can_be_had(made: Path, tmp_path: Path, seed: int) -> None:
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    _damage(tmp_path / "copy", seed)
    for store in stores(str(tmp_path / "copy")):
        for thing in (*store.containers, *store.images):
            assert isinstance(thing, Container | Image)
            try:
                store.stack(thing.layers, writable=False)
            except KeyError:  # a layer that is gone
                assert thing.layers
        for layer in store.layers.values():
            assert isinstance(layer, StoredLayer)
            assert layer.directory == "" or layer.directory.startswith(str(tmp_path))
        names.find("web", [store])
        names.labels([store])


@pytest.mark.parametrize("fan", [1, 2, 7, 1000])
def test_a_database_of_many_pages(tmp_path: Path, fan: int) -> None:
    tree: Tree = {b"%05d" % number: {b"n": b"%d" % number} for number in range(500)}
    seen: list[bytes] = []

    def read(root: Bucket) -> None:
        seen.clear()
        seen.extend(name for name, _ in root.buckets())
        found = root.bucket(b"00123")
        assert found is not None
        assert found.value(b"n") == b"123"
        assert root.get(b"00123x") is None
        assert root.get(b"") is None
        assert root.bucket(b"00123", b"n") is None

    _read(tmp_path, database(tree, fan), read)
    assert seen == sorted(tree)


def _read(tmp_path: Path, raw: bytes, read: Callable[[Bucket], None]) -> None:
    path = tmp_path / "db"
    path.write_bytes(raw)
    fd = os.open(path, os.O_RDONLY)
    try:
        bolt.read_whole(fd, read)
    finally:
        os.close(fd)


def _dump(bucket: Bucket, depth: int = 0) -> dict[bytes, object]:
    if depth > 8:
        raise DamagedError("deep")
    return {
        name: _dump(found, depth + 1) if isinstance(found, Bucket) else found
        for name, found in bucket.items()
    }


def _walk_whole(bucket: Bucket) -> None:
    _dump(bucket)


_TREES = st.recursive(
    st.binary(max_size=300),
    lambda below: st.dictionaries(st.binary(min_size=1, max_size=20), below, max_size=6),
    max_leaves=20,
)


@given(st.dictionaries(st.binary(min_size=1, max_size=20), _TREES), st.integers(1, 5))
def test_what_was_put_into_a_database_is_read(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree, fan: int
) -> None:
    found: list[object] = []
    _read(
        tmp_path_factory.mktemp("db"), database(tree, fan), lambda root: found.append(_dump(root))
    )
    assert found == [tree]


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_database_is_an_error_or_an_answer(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(database({b"%03d" % n: {b"v": bytes(n)} for n in range(60)}, 9))
    for _ in range(chance.randint(1, 60)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    if seed % 3 == 0:
        del raw[chance.randrange(len(raw)) :]
    with contextlib.suppress(DamagedError):
        _read(tmp_path, bytes(raw), _walk_whole)


def test_a_writer_has_the_database_read_again(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_bytes(database({b"a": b"1"}))
    calls = 0

    def read(root: Bucket) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:  # a transaction ends while the database is read
            path.write_bytes(database({b"a": b"2"}, txid=5))
        else:
            assert root.value(b"a") == b"2"

    fd = os.open(path, os.O_RDONLY)
    try:
        bolt.read_whole(fd, read)
    finally:
        os.close(fd)
    assert calls == 2
