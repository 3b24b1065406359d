"""Images: which layers an OCI layout or an archive of `docker save` has, and their bytes.

Sources: the OCI image layout and image manifest specifications, and moby's image/tarexport.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import tarfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from layerctl.errors import RefusedError, RequestError
from layerctl.kernel import layers, streams
from layerctl.working.archives.members import damaged, parts_of, unsafe

#: Documents of images are small; nothing larger is read into memory.
_MOST_TEXT = 8 << 20
_MOST_NAMES = 100_000
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_NAMES = ("org.opencontainers.image.ref.name", "io.containerd.image.name")
#: What the first name of an archive of an image is like.
_FIRST = re.compile(
    r"(blobs|[0-9a-f]{64}(\.tar|\.json)?|oci-layout|index\.json|manifest\.json)(/.*)?"
)


class Layer(NamedTuple):
    """A layer of an image: its bytes, and its digests where they are known."""

    pieces: Callable[[], Iterator[bytes]]
    digest: str | None
    diff: str | None


class Files:
    """The files of an image by their names: `open_at` returns their bytes from a place on."""

    def __init__(self, read: Callable[[str], Iterator[bytes] | None]) -> None:
        self.pieces = read

    def text(self, name: str) -> bytes | None:
        """Return a small file, None if there is none. Raises RefusedError for a large one."""
        pieces = self.pieces(name)
        if pieces is None:
            return None
        found = b""
        for piece in pieces:
            found += piece
            if len(found) > _MOST_TEXT:
                raise damaged(f"{name} is larger than 8 MiB")
        return found


def in_directory(root: int) -> Files:
    """Return the files of an OCI layout, an open directory."""

    def read(name: str) -> Iterator[bytes] | None:
        above, _, base = "/".join(parts_of(name)).rpartition("/")
        try:
            directory = layers.open_path(above, root)
        except OSError:
            return None
        try:
            return streams.read_and_close(layers.open_file(base, directory))
        except OSError:
            return None
        finally:
            os.close(directory)

    return Files(read)


def in_archive(fd: int) -> Files:
    """Return the files of an archive that is open and not compressed."""
    places: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    with streams.file_of(fd) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            name = "/".join(parts_of(info.name))
            if info.isreg():
                places[name] = info.offset_data, info.size
            elif info.issym():  # a layer that is there twice
                links[name] = os.path.normpath(os.path.join(os.path.dirname(name), info.linkname))
            if len(places) + len(links) > _MOST_NAMES:
                raise damaged("it has more files than any image")

    def read(name: str) -> Iterator[bytes] | None:
        place = places.get(links.get(name, name))
        return None if place is None else streams.part_of(fd, *place)

    return Files(read)


def looks_so(start: bytes) -> bool:
    """Tell whether the first entry of an archive, of which this is the start, is of an image."""
    try:
        with tarfile.open(fileobj=io.BytesIO(start), mode="r|") as archive:
            first = archive.next()
    except tarfile.TarError:
        return False
    return first is not None and _FIRST.fullmatch(first.name.removeprefix("./")) is not None


def found_in(files: Files, name: str | None) -> list[Layer] | None:
    """Return the layers of an image, the topmost first; None if the files are not those of one.

    `name` chooses among several images. Raises LayerctlError.
    """
    try:
        if files.text("oci-layout") is not None or files.text("index.json") is not None:
            return _of_index(files, _json(files.text("index.json")), name)
        text = files.text("manifest.json")
        manifests = None if text is None else _json(text)
        if isinstance(manifests, list):
            return _of_docker(files, manifests, name)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise damaged(f"a document of the image lacks something: {error}") from None
    return None


def _json(text: bytes | None) -> Any:
    try:
        return json.loads(text or b"")
    except (ValueError, RecursionError):
        raise damaged("a document of the image is not JSON") from None


def _of_index(files: Files, index: Any, name: str | None) -> list[Layer]:
    document = index
    for _ in range(4):  # an index may name others, one for each platform
        if "layers" in document:
            break
        chosen = _chosen(document["manifests"], name)
        document, name = _json(_checked(files, chosen["digest"])), None
    config = _json(_checked(files, document["config"]["digest"]))
    diffs = config["rootfs"]["diff_ids"]
    if len(diffs) != len(document["layers"]):
        raise damaged("the image has another number of layers than of their digests")
    found = []
    for one, diff in zip(document["layers"], diffs, strict=True):
        digest = str(one["digest"])
        found.append(Layer(_opener(files, _blob(digest)), digest, str(diff)))
    return found[::-1]


def _chosen(manifests: list[Any], name: str | None) -> Any:
    """Return the one manifest that is meant: by its name, else by this machine's platform."""
    known = [one for one in manifests if "vnd.docker.reference.type" not in
             one.get("annotations", {})]  # fmt: skip
    names = {key: one for one in known for key in _names_of(one)}
    if name is not None:
        if name not in names:
            raise _no_such(name, list(names))
        return names[name]
    if len(known) > 1:
        machine = _MACHINES.get(platform.machine(), platform.machine())
        ours = [one for one in known if one.get("platform", {}).get("architecture") == machine]
        known = ours or known
    if len(known) != 1:
        raise _no_such(None, list(names))
    return known[0]


def _names_of(manifest: Any) -> list[str]:
    annotations = manifest.get("annotations") or {}
    return [str(annotations[key]) for key in _NAMES if key in annotations]


def _of_docker(files: Files, manifests: list[Any], name: str | None) -> list[Layer]:
    names = {str(tag): one for one in manifests for tag in one.get("RepoTags") or ()}
    if name is not None and name not in names:
        raise _no_such(name, list(names))
    if name is None and len(manifests) != 1:
        raise _no_such(None, list(names))
    manifest = manifests[0] if name is None else names[name]
    path = str(manifest["Config"])
    text = files.text(path)
    if text is None:
        raise damaged(f"{path} is missing")
    claimed = re.search(r"[0-9a-f]{64}", path)
    if claimed is not None and hashlib.sha256(text).hexdigest() != claimed[0]:
        raise mismatch(path)
    diffs = _json(text)["rootfs"]["diff_ids"]
    if len(diffs) != len(manifest["Layers"]):
        raise damaged("the image has another number of layers than of their digests")
    pairs = zip(manifest["Layers"], diffs, strict=True)
    return [Layer(_opener(files, str(one)), None, str(diff)) for one, diff in pairs][::-1]


def _blob(digest: str) -> str:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise unsafe(digest, "only sha256 digests are known")
    return f"blobs/sha256/{match[1]}"


def _checked(files: Files, digest: str) -> bytes:
    """Return a document whose digest is right."""
    text = files.text(_blob(digest))
    if text is None:
        raise damaged(f"{digest} is missing")
    if f"sha256:{hashlib.sha256(text).hexdigest()}" != digest:
        raise mismatch(digest)
    return text


def _opener(files: Files, name: str) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        found = files.pieces(name)
        if found is None:
            raise damaged(f"the layer {name} is missing")
        return found

    return pieces


def mismatch(name: str) -> RefusedError:
    """Return the error for bytes that do not have their digest."""
    return RefusedError(
        "digest-mismatch",
        f"{name} does not have the bytes that its digest says",
        why="the image was damaged or changed",
        hint="fetch or write it again; what was unpacked of it has been removed",
    )


def _no_such(name: str | None, names: list[str]) -> RequestError:
    known = ", ".join(sorted(names)) or "images without names"
    return RequestError(
        "no-such-image",
        f"the archive has no image {name}" if name else "the archive has several images",
        why=f"it has {known}",
        hint="name one of them with --ref",
    )
