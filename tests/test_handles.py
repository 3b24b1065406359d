"""File handles of layers, as the kernel makes them and takes them again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from layerctl.kernel import handles, layers, mounts


@pytest.mark.namespace
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", ["ext4"])
def test_a_handle_leads_back_to_its_file(lab: Path) -> None:
    (lab / "file").write_text("x")
    (lab / "gone").touch()
    fd = layers.open_root(str(lab))
    before = os.listdir("/proc/self/fd")
    found, gone = handles.of(fd, "file"), handles.of(fd, "gone")
    assert found is not None
    assert gone is not None
    assert handles.of(fd, "nosuch") is None
    assert handles.decode(found, fd) == os.stat("file")
    (lab / "gone").unlink()
    os.sync()
    assert handles.decode(gone, fd) is None
    assert os.listdir("/proc/self/fd") == before
    child = os.fork()
    if child == 0:
        try:
            os.setuid(1000)
            try:
                handles.decode(found, fd)
            except PermissionError as error:
                os._exit(0 if error.errno == errno.EPERM else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.namespace
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", ["ext4"])
def test_the_uuid_of_a_filesystem_is_that_of_its_superblock(lab: Path) -> None:
    fd = layers.open_root(str(lab))
    entry = next(one for one in mounts.entries() if one.mount_id == mounts.mount_id_of(fd))
    with open(entry.source, "rb") as device:
        device.seek(1024 + 0x68)
        written = device.read(16)
    found = handles.filesystem_uuid(fd)
    assert found in (written, None)  # kernels before 6.9 do not tell
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    assert (found is None) == (release < (6, 9))
    remembered = handles.of(fd, "", written)
    assert remembered is not None
    assert handles.of(fd, "", None) != remembered
