"""ID maps of layers: which owners the real kernel shows, and why it refuses others."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from layerctl.cli.main import main
from layerctl.codecs import idmap
from layerctl.errors import RequestError
from layerctl.kernel import syscalls
from layerctl.model import IdMap
from tests.support import layerctl, layerctl_json
from tests.support.mounting import APIS, make, mounted_here, shown, snapshot

MAP = ("--map", "0:100000:65536")


def owners(*paths: str) -> list[tuple[int, int]]:
    return [(one.st_uid, one.st_gid) for one in map(os.lstat, paths)]


def layers(lab: Path) -> None:
    """Two lower layers, the root and a file of each with owners of their own, and an upper."""
    make(lab, "l/d", "k", "p/u", "p/w", "m")
    for name, uid, gid in (("l", 1, 2), ("k", 3, 4), ("l/f", 5, 6), ("k/g", 7, 8), ("k/d", 9, 9)):
        if "/d" in name:
            os.mkdir(name)
        elif "/" in name:
            Path(name).write_text(name)
        os.chown(name, uid, gid)


@pytest.mark.namespace
@pytest.mark.parametrize("backing", ["ext4", "xfs", "btrfs", "tmpfs"])
@pytest.mark.parametrize("api", APIS)
def test_owners_are_those_of_the_map(lab: Path, backing: str, api: str) -> None:
    del backing
    layers(lab)
    done = layerctl("mount", "--api", api, *MAP, "-l", "l", "-l", "k", "m")
    assert (done.returncode, done.stderr) == (0, "")
    assert owners("m", "m/f", "m/g", "m/d") == [
        (100001, 100002), (100005, 100006), (100007, 100008), (100000, 100000)
    ]  # fmt: skip
    assert shown(lab / "m") == [("lower", f"{lab}/l"), ("lower", f"{lab}/k")]
    assert layerctl("umount", "m").returncode == 0
    assert owners("l", "l/f", "k/g") == [(1, 2), (5, 6), (7, 8)]


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ((*MAP, "-l", "l", "--map", "none", "-l", "k"), [(100001, 100002), (7, 8)]),
        (("-l", "l", *MAP, "-l", "k"), [(1, 2), (100007, 100008)]),
        (("--map", "u:0:50:50", "-l", "l", "-l", "k"), [(51, 2), (57, 8)]),
        (("--map", "g:0:50:50", "-l", "l", "-l", "k"), [(1, 52), (7, 58)]),
        (("--map", "0:50:6", "--map", "7:9:3", "-l", "l", "-l", "k"), [(51, 52), (9, 10)]),
        ((*MAP, "-o", "lowerdir=l:k"), [(100001, 100002), (100007, 100008)]),
        (("-o", "lowerdir+=l", *MAP, "-o", "lowerdir+=k"), [(1, 2), (100007, 100008)]),
        ((*MAP, "-l", "l", "--map", "0:50:50", "-l", "k"), [(100001, 100002), (57, 58)]),
        (("--map-file", "map", "-l", "l", "-l", "k"), [(101, 2), (107, 8)]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_a_map_applies_to_the_layers_after_it(
    lab: Path, line: tuple[str, ...], found: list[tuple[int, int]]
) -> None:
    layers(lab)
    Path("map").write_text("# owners\nu:  0  100  50\n")
    done = layerctl("mount", *line, "m")
    assert (done.returncode, done.stderr) == (0, "")
    assert owners("m", "m/g") == found


@pytest.mark.namespace
@pytest.mark.parametrize("backing", ["ext4", "xfs", "btrfs", "tmpfs"])
@pytest.mark.parametrize("api", APIS)
def test_a_mapped_upper_layer_holds_what_its_users_write(lab: Path, backing: str, api: str) -> None:
    del backing
    layers(lab)
    line = (*MAP, "-l", "l", "-l", "k", "-u", "p/u", "-w", "p/w", "m")
    done = layerctl("mount", "--api", api, *line)
    assert (done.returncode, done.stderr) == (0, "")
    assert shown(lab / "m")[0] == ("upper", f"{lab}/p/u")
    as_root_of_the_container = ["setpriv", "--reuid=100000", "--regid=100000", "--clear-groups"]
    script = "echo more >> m/f; mkdir m/d/e; rm m/g; chmod 700 m/d; chgrp 100000 m/new"
    os.chmod("l/f", 0o666)
    subprocess.run([*as_root_of_the_container, "sh", "-ec", f"touch m/new; {script}"], check=True)
    assert owners("m/new", "m/d/e", "m/f") == [
        (100000, 100000), (100000, 100000), (100005, 100006)
    ]  # fmt: skip
    assert owners("p/u/new", "p/u/d/e", "p/u/f", "l/f") == [(0, 0), (0, 0), (5, 6), (5, 6)]
    with pytest.raises(OSError, match="Value too large"):  # the host's root is not in the map
        os.mkdir("m/by-root")
    assert layerctl("umount", "m").returncode == 0
    assert layerctl("mount", "--api", api, *line).returncode == 0  # the work directory is cleared
    assert owners("m/new") == [(100000, 100000)]


@pytest.mark.namespace
def test_an_upper_layer_that_is_not_mapped_keeps_the_ids_that_were_seen(lab: Path) -> None:
    layers(lab)
    assert layerctl("mount", "-u", "p/u", *MAP, "-l", "l", "p/../m").returncode == 0
    os.chmod("m/f", 0o600)
    assert owners("p/u/f", "l/f") == [(100005, 100006), (5, 6)]


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("line", "disk"),
    [
        (("-u", "new", *MAP, "-l", "l"), (100001, 100002)),
        ((*MAP, "-l", "l", "--map", "none", "-u", "new"), (100001, 100002)),
        ((*MAP, "-u", "new", "-l", "l"), (1, 2)),
        ((*MAP, "-l", "l", "--tmpfs"), None),
    ],
    ids=str,
)
def test_a_new_upper_layer_keeps_the_owner_of_the_merged_root(
    lab: Path, line: tuple[str, ...], disk: tuple[int, int] | None
) -> None:
    layers(lab)
    done = layerctl("mount", *line, "--mkdir", "m")
    assert done.returncode == 0, done.stderr
    assert owners("m") == [(100001, 100002)]
    assert disk is None or owners("new") == [disk]


@pytest.mark.namespace
def test_lower_layers_beside_a_mapped_upper_are_not_mapped_with_it(lab: Path) -> None:
    layers(lab)
    for api in APIS:
        line = ("-l", "l", *MAP, "-u", "u", "-w", "w", "m", "--mkdir", "--api", api)
        assert layerctl("mount", *line).returncode == 0
        assert owners("m/f") == [(5, 6)]
        assert layerctl("umount", "m").returncode == 0


@pytest.mark.namespace
def test_the_map_of_a_process(lab: Path) -> None:
    layers(lab)
    with subprocess.Popen(["unshare", "-U", "sleep", "100"]) as process:
        ready = f"/proc/{process.pid}/ns/user"
        while os.readlink(ready) == os.readlink("/proc/self/ns/user"):
            time.sleep(0.01)
        empty = layerctl("mount", "--map-of", str(process.pid), "-l", "l", "-l", "k", "m")
        for kind, seen in (("u", 70), ("g", 80)):
            Path(f"/proc/{process.pid}/{kind}id_map").write_text(f"0 {seen} 10\n")
        done = layerctl("mount", "--map-of", str(process.pid), "-l", "l", "-l", "k", "m")
        process.kill()
    assert (empty.returncode, done.returncode) == (2, 0)
    assert owners("m", "m/g") == [(71, 82), (77, 88)]


@pytest.mark.namespace
@pytest.mark.parametrize("command", ["mount", "doctor"])
def test_a_filesystem_that_cannot_be_idmapped_is_named(lab: Path, command: str) -> None:
    layers(lab)
    done = layerctl(command, *MAP, "-l", "/sys/kernel", "-l", "l", "m", "--json")
    found = json.loads(done.stderr or done.stdout)
    ids = [one["cause"] for one in found.get("findings", [])] + [found.get("error", {}).get("id")]
    assert "idmap-filesystem-unsupported" in ids
    assert "/sys" in done.stdout + done.stderr
    assert not mounted_here(lab)


@pytest.mark.namespace
def test_a_kernel_without_idmapped_mounts_is_named(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layers(lab)

    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(syscalls, "mount_setattr", missing)
    assert main(["mount", *MAP, "-l", "l", "-l", "k", "m", "--json"]) == 32
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["id"] == "idmapped-layers-unsupported"
    assert not mounted_here(lab)


@pytest.mark.namespace
def test_owners_that_are_not_in_the_map(lab: Path) -> None:
    layers(lab)
    before = snapshot(lab)
    line = ("--map", "1:100:5", "-l", "l", "-l", "k", "m")
    done = layerctl("mount", *line)
    assert (done.returncode, done.stderr) == (0, "")  # both roots are in the map
    assert owners("m", "m/g") == [(100, 101), (65534, 65534)]
    assert layerctl("umount", "m").returncode == 0
    done = layerctl("mount", "--map", "2:100:5", "-l", "l", "-l", "k", "m")
    assert done.returncode == 0
    assert "l belongs to uid 1, not in its map  [idmap-owner-unmapped]" in done.stderr
    assert layerctl("umount", "m").returncode == 0
    refused = layerctl("mount", *line[:-1], "-u", "p/u", "m", "--json")
    assert json.loads(refused.stderr)["error"]["id"] == "idmap-owner-unmapped"
    assert snapshot(lab) == before


@pytest.mark.namespace(user=True)
def test_in_a_user_namespace_only_its_own_filesystems_and_ids(lab: Path) -> None:
    make(lab, "l", "k", "m")
    done = layerctl("mount", "--map", "0:0:1", "-l", "l", "-l", "k", "m")
    assert done.returncode == 0, done.stderr
    assert owners("m") == [(0, 0)]
    assert layerctl("umount", "m").returncode == 0
    refused = layerctl("mount", *MAP, "-l", "l", "-l", "k", "m", "--json")
    error = json.loads(refused.stderr)["error"]
    assert (refused.returncode, error["id"]) == (32, "idmapping-refused")
    assert "only ids that this user namespace has" in error["hint"]
    refused = layerctl("mount", "--map", "0:0:1", "-l", "/usr", "-l", "k", "m", "--json")
    error = json.loads(refused.stderr)["error"]
    assert (refused.returncode, error["id"]) == (32, "idmapping-refused")
    assert "mounted outside it" in error["message"]
    assert not mounted_here(lab)


@pytest.mark.namespace
def test_upper_and_work_with_only_the_root_in_common(lab: Path) -> None:
    make(lab, "l", "m", "u")
    work = Path("/dev/shm/layerctl-test-work")
    work.mkdir()
    try:
        syscalls.mount(str(lab), str(work), "", syscalls.MS_BIND, "")
        done = layerctl(
            "doctor", *MAP, "-l", "l", "-u", "u", "-w", f"{work}/w", "m", "--json"
        )  # fmt: skip
    finally:
        syscalls.umount2(str(work), syscalls.MNT_DETACH)
        work.rmdir()
    assert "idmapping-refused" in {one["cause"] for one in json.loads(done.stdout)["findings"]}


@pytest.mark.namespace
def test_a_dry_run_names_the_maps_and_mount8_cannot_express_them(lab: Path) -> None:
    layers(lab)
    document = layerctl_json("mount", "-n", "--map", "u:0:9:9", "-l", "l", "-u", "p/u", "m")
    assert [one["map"] for one in document["layers"]] == [["u:0:9:9", "g:0:0:4294967295"]] * 2
    assert document["command"] is None
    assert "mount_setattr: map the owners of 2 layers" in document["steps"]
    done = layerctl("mount", "--print", "command", *MAP, "-l", "l", "-u", "p/u", "m", "--json")
    assert json.loads(done.stderr)["error"]["id"] == "mount8-cannot-express"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("overlayfs: failed to create directory /w/work (errno: 75); mounting read-only",
         "idmap-owner-unmapped"),
        ("mount_setattr(3, MOUNT_ATTR_IDMAP) = -1 EINVAL (Invalid argument)",
         "idmap-filesystem-unsupported"),
    ],
)  # fmt: skip
def test_messages_about_maps_are_explained(text: str, cause: str) -> None:
    line = "mount -t overlay overlay -o lowerdir=/a,upperdir=/u,workdir=/w /m\n"
    done = layerctl("doctor", "--from", "-", "--json", stdin=f"{line}{text}\n")
    assert cause in [one["cause"] for one in json.loads(done.stdout)["findings"]]


@pytest.mark.parametrize("word", ["EINVAL", "EOVERFLOW", "EPERM"])
def test_what_an_errno_means_of_a_map(word: str) -> None:
    assert "mapping the owners of a layer" in layerctl("explain", word).stdout


WRONG = {
    "no layer after it": ("-l", "l", "-l", "k", *MAP),
    "none and more": ("--map", "none", *MAP, "-l", "l", "-l", "k"),
    "no numbers": ("--map", "a:b:c", "-l", "l", "-l", "k"),
    "too few": ("--map", "0:1", "-l", "l", "-l", "k"),
    "nothing mapped": ("--map", "0:1:0", "-l", "l", "-l", "k"),
    "too large": ("--map", "0:4294967295:1", "-l", "l", "-l", "k"),
    "on disk twice": ("--map", "0:100:10", "--map", "9:200:1", "-l", "l", "-l", "k"),
    "seen twice": ("--map", "0:100:10", "--map", "50:109:1", "-l", "l", "-l", "k"),
    "options without layers": (*MAP, "-o", "ro"),
    "aufs": (*MAP, "-b", "l=rw"),
    "first namespace": ("--map-of", "1", "-l", "l", "-l", "k"),
    "an empty file": ("--map-file", "/dev/null", "-l", "l", "-l", "k"),
}


@pytest.mark.namespace
@pytest.mark.parametrize("line", WRONG.values(), ids=WRONG)
def test_wrong_maps_are_refused_before_anything_is_done(lab: Path, line: tuple[str, ...]) -> None:
    layers(lab)
    done = layerctl("mount", *line, "m", "--json")
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stderr)["error"]["hint"]
    assert not mounted_here(lab)


def test_extents_are_read_in_every_spelling() -> None:
    text = "  0  100000 65536\n# a comment\nu:70000:7:1, g:70000:8:1  # another\n"
    assert idmap.join(idmap.extents(text)) == IdMap(
        ((0, 100000, 65536), (70000, 7, 1)), ((0, 100000, 65536), (70000, 8, 1))
    )


def test_as_many_extents_as_the_kernel_takes() -> None:
    parts = [("b", (number * 2, number, 1)) for number in range(341)]
    assert len(idmap.join(parts[:340]).uids) == 340
    with pytest.raises(RequestError, match="341 extents"):
        idmap.join(parts)
