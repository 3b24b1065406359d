"""`layerctl mount` on the real kernel: what stands afterwards, and what is left of a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerctl.kernel import mounts, syscalls
from tests.support import ROOT, layerctl, layerctl_json
from tests.support.mounting import APIS, FEATURES, ODD_NAMES, make, mounted_here, shown, snapshot


@pytest.mark.namespace
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "name",
    ODD_NAMES,
)
def test_every_odd_name_mounts_and_reads_back(lab: Path, api: str, name: str) -> None:
    make(lab, "m")
    make(lab, f"l/{name}", f"k/{name}", f"u/{name}", f"w/{name}")
    (lab / "l" / name / "top").touch()
    document = layerctl_json(
        "mount", "--api", api, "-l", f"l/{name}", "-l", f"k/{name}", "-u", f"u/{name}",
        "-w", f"w/{name}", "m",
    )  # fmt: skip
    assert document["mounts"][0]["api"]["name"] == api
    if api != "fsconfig" or len(name) < 200:  # else named by descriptors that are closed now
        assert shown(lab / "m") == [
            ("upper", f"{lab}/u/{name}"),
            ("lower", f"{lab}/l/{name}"),
            ("lower", f"{lab}/k/{name}"),
        ]
    assert (lab / "m/top").exists()
    assert layerctl("umount", "m").returncode == 0


@pytest.mark.namespace
def test_five_hundred_layers_of_200_bytes_and_not_one_more(lab: Path) -> None:
    make(lab, "m", "u")
    paths = [f"{n:03d}{'x' * 197}" for n in range(501)]
    make(lab, *paths)
    flags = [word for path in paths[:500] for word in ("-l", path)]
    for api in APIS:
        done = layerctl("mount", "--api", api, *flags, "-u", "u", "m")
        assert done.returncode == 0, done.stderr
        if api != "mount":
            assert shown(lab / "m")[1:] == [("lower", f"{lab}/{path}") for path in paths[:500]]
        assert layerctl("umount", "m").returncode == 0
    refused = layerctl("mount", *flags, "-l", paths[500], "-u", "u", "m", "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stderr)["error"]["id"] == "too-many-layers"


@pytest.mark.namespace
def test_a_string_that_would_be_cut_on_a_colon_is_mounted_whole(lab: Path) -> None:
    make(lab, "m")
    step = len(f"{lab}/000:")
    head = (4095 - len("lowerdir=")) % step
    names = ["a" * (head + step - len(f"{lab}/")), *(f"{n:03d}" for n in range(200))]
    make(lab, *names)
    string = ":".join(f"{lab}/{name}" for name in names)
    assert ("lowerdir=" + string)[4095] == ":"
    done = layerctl("mount", "-t", "overlay", "-o", f"lowerdir={string}", "m")
    assert done.returncode == 0, done.stderr
    assert len(shown(lab / "m")) == 201
    assert layerctl("umount", "m").returncode == 0
    done = layerctl("mount", "--api", "mount", "-o", f"lowerdir={string}", "m")
    assert done.returncode == 0, done.stderr
    (one,) = (entry for entry in mounts.entries() if entry.target == str(lab / "m"))
    assert len(mounts.describe(one).stack.layers) == 201


@pytest.mark.namespace
def test_relative_dotted_and_linked_names(lab: Path) -> None:
    make(lab, "deep/l1", "deep/l2", "u", "m", "elsewhere")
    (lab / "elsewhere/link").symlink_to("../deep/l1")
    done = layerctl(
        "mount", "-o", "lowerdir=../elsewhere/link/:./../deep/./l2//,upperdir=../u/.", "../m/",
        cwd=lab / "deep",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = [os.path.realpath(path) for _, path in shown(lab / "m")]
    assert got == [f"{lab}/u", f"{lab}/deep/l1", f"{lab}/deep/l2"]
    assert f"{lab}/u.work" in done.stderr


@pytest.mark.namespace
def test_flags_and_options_build_the_same_stack(lab: Path) -> None:
    make(lab, "l1", "l2", "d", "u", "w", "m")
    spellings: list[list[str]] = [
        ["-l", "l1", "-l", "l2", "--data", "d", "-u", "u", "-w", "w", "-o", "metacopy=on"],
        ["-t", "overlay2", "-o", "lowerdir=l1:l2::d,upperdir=u,workdir=w,metacopy=on"],
        ["-o", "lowerdir=l1:l2::d", "-o", "metacopy=on", "-u", "u", "-w", "w"],
    ]
    if not FEATURES.context:
        assert layerctl("mount", *spellings[0], "m").returncode == 32
        return
    seen = []
    for spelling in spellings:
        document = layerctl_json("mount", *spelling, "m")
        seen.append(document["mounts"][0])
        seen[-1]["options"].pop("uuid", None)  # shown while the upper directory is fresh
        assert layerctl("umount", "m").returncode == 0
    assert seen[0]["layers"] == seen[1]["layers"] == seen[2]["layers"]
    assert seen[0]["options"] == seen[1]["options"] == seen[2]["options"]
    assert [layer["role"] for layer in seen[0]["layers"]] == ["upper", "lower", "lower", "data"]


@pytest.mark.namespace
@pytest.mark.parametrize(
    "api",
    APIS,
)
def test_mount_flags_are_in_effect(lab: Path, api: str) -> None:
    make(lab, "l1", "l2", "u", "m")
    words = "ro,nosuid,nodev,noexec,noatime,x-mine=1,nofail"
    document = layerctl_json("mount", "--api", api, "-l", "l1", "-u", "u", "-o", words, "m")
    one = document["mounts"][0]
    assert one["read_only"] is True
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(one["flags"])
    assert layerctl("umount", "m").returncode == 0


@pytest.mark.namespace
def test_the_kernel_made_read_only_is_said(lab: Path) -> None:
    make(lab, "l", "u", "w/work/too/deep/to/be/cleared", "m")
    done = layerctl("mount", "-l", "l", "-u", "u", "-w", "w", "m")
    assert done.returncode == 0
    assert "read-only" in done.stderr


@pytest.mark.namespace(user=True)
def test_user_namespace_gets_userxattr_and_is_told(lab: Path) -> None:
    make(lab, "l1", "u", "m", "w")
    try:
        syscalls.mount("o", "m", "overlay", 0, "lowerdir=l1,upperdir=u,workdir=w,userxattr")
    except OSError:  # before 5.11 nobody mounts overlay in a user namespace
        refused = layerctl("mount", "-l", "l1", "-u", "u", "m")
        assert refused.returncode in (4, 32)
        assert sorted(os.listdir(lab)) == ["l1", "m", "u", "w"]
        return
    syscalls.umount2("m", 0)
    done = layerctl("mount", "-l", "l1", "-u", "u", "m")
    assert done.returncode == 0, done.stderr
    assert "userxattr" in mounts.find_layered(str(lab / "m")).stack.options
    assert "userxattr" in done.stderr
    try:
        os.setxattr(lab / "u", "user.x", b"")
    except OSError:  # a tmpfs before 6.6 has no user attributes to keep markers in
        return
    (lab / "l1/d").mkdir()
    os.rmdir(lab / "m/d")
    os.mkdir(lab / "m/d")  # without userxattr: EIO


@pytest.mark.namespace
def test_mkdir_makes_what_is_missing_and_the_upper_looks_like_the_lower(lab: Path) -> None:
    make(lab, "l")
    os.chmod(lab / "l", 0o1777)
    os.chown(lab / "l", 12, 34)
    done = layerctl("mount", "-l", "l", "-u", "a/u", "-w", "a/w", "--mkdir", "b/m")
    assert done.returncode == 0, done.stderr
    status = os.stat(lab / "b/m")
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o1777, 12, 34)


BAD: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (32, "missing-layer-directory", ("-l", "nosuch", "-l", "l1", "m")),
    (32, "missing-layer-directory", ("-l", "l1", "-u", "nosuch", "m")),
    (32, "layer-not-a-directory", ("-l", "file", "-l", "l1", "m")),
    (2, "unknown-type", ("-t", "ext4", "-l", "l1", "-l", "l2", "m")),
    (32, "workdir-upperdir-not-separate", ("-l", "l1", "-u", "u", "-w", "u/w", "m")),
    (2, "too-few-layers", ("-l", "l1", "m")),
    (2, "too-few-layers", ("-u", "u", "m")),
    (3, "target-missing", ("-l", "l1", "-u", "u", "nosuch")),
    (32, "target-not-a-directory", ("-l", "l1", "-u", "u", "file")),
    (32, "overlapping-layers", ("-l", "l1", "-l", "l1", "m")),
    (32, "overlapping-layers", ("-l", "l1", "-l", "l1/sub", "m")),
    (2, "bad-option-value", ("-l", "l1", "-u", "u", "-o", "index=maybe", "m")),
    (2, "conflicting-options", ("-l", "l1", "-u", "u", "-o", "metacopy=on,redirect_dir=off", "m")),
    (32, "unknown-mount-option-old-kernel", ("-l", "l1", "-u", "u", "-o", "nosuch=1", "m")),
    (32, "aufs-module-missing", ("-b", "l1=rw", "-b", "l2", "m")),
    (2, "aufs-branch-permission-unknown", ("-b", "l1=bogus", "-b", "l2", "m")),
    (2, "aufs-br-syntax", ("-t", "aufs", "-o", "br=l1::l2", "m")),
    (2, "malformed-option-string", ("-t", "overlay", "-o", "lowerdir=l1:l2:", "m")),
    (32, "workdir-upperdir-different-mount", ("-l", "l1", "-u", "own", "m")),
    (32, "directory-not-made", ("-l", "l1", "-u", "u", "--mkdir", "file/m")),
    (32, "directory-not-made", ("-l", "l1", "-u", "new" * 84, "--mkdir", "m")),
    (2, "wrong-layer-flag", ("-l", "l1", "-l", "l2", "-o", "br=l1", "m")),
    (2, "wrong-layer-flag", ("-o", "dirs=l1,lowerdir=l2", "m")),
    (2, "bad-option-value", ("-l", "l1", "-l", "l2", "-o", "nosuid=1", "m")),
    (2, "malformed-option-string", ("-l", "l1", "-u", "u", "-w", "", "m")),
    (2, "aufs-br-syntax", ("-b", "l1", "-b", "", "m")),
    (2, "usage", ("-l", "l1", "-u", "u")),
    (2, "usage", ("--nosuch", "m")),
)  # fmt: skip


@pytest.mark.namespace
@pytest.mark.parametrize(("code", "identity", "arguments"), BAD)
def test_bad_input_is_refused_and_changes_nothing(
    lab: Path, code: int, identity: str, arguments: tuple[str, ...]
) -> None:
    make(lab, "l1/sub", "l2", "u/w", "m", "own")
    (lab / "file").touch()
    syscalls.mount("t", str(lab / "own"), "tmpfs", 0, "")
    before = snapshot(lab), mounted_here(lab)
    done = layerctl("mount", *arguments, "--json")
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    error: dict[str, Any] = json.loads(done.stderr)["error"]
    assert error["id"] == identity
    assert error["exit_code"] == code
    assert error["message"]
    assert error["hint"] or error["commands"]
    assert (snapshot(lab), mounted_here(lab)) == before
    plain = layerctl("mount", *arguments)
    assert plain.returncode == code
    assert "Traceback" not in plain.stderr
    dry = layerctl("mount", *arguments, "--dry-run", "--json")
    if code == 2:
        assert (dry.returncode, dry.stdout) == (2, "")
    elif identity != "unknown-mount-option-old-kernel" or FEATURES.context:
        # before 6.5 nobody but the mount itself can be asked about an option
        report = json.loads(dry.stdout)
        assert (dry.returncode, report["verdict"]) == (1, "failure")
        assert identity in [one["cause"] for one in report["findings"]]
    assert (snapshot(lab), mounted_here(lab)) == before


@pytest.mark.namespace
def test_a_directory_that_only_the_kernel_knows_cannot_be_made(lab: Path) -> None:
    make(lab, "l1", "u")
    done = layerctl("mount", "-l", "l1", "-u", "u", "--mkdir", "/proc/nosuch", "--json")
    assert done.returncode == 32
    assert json.loads(done.stderr)["error"]["id"] == "directory-not-made"
    assert sorted(os.listdir(lab)) == ["l1", "u"]


@pytest.mark.namespace
def test_a_mount_that_cannot_be_reported_is_undone(lab: Path) -> None:
    make(lab, "l1", "u")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "layerctl", "mount", "-l", "l1", "-u", "u", "--mkdir", "m/n",
             "--json"],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=full,
        )  # fmt: skip
    assert done.returncode == 74
    assert sorted(os.listdir(lab)) == ["l1", "u"]


@pytest.mark.namespace
@pytest.mark.parametrize(
    "words",
    ["ro,defaults", "user", "users,exec", "exec,user", "owner", "group,suid", "nodev,dev,defaults"],
)
def test_flags_mean_what_they_mean_to_mount8(lab: Path, words: str) -> None:
    make(lab, "l1", "u", "w", "m", "n")
    options = f"lowerdir=l1,upperdir=u,workdir=w,{words}"
    done = layerctl("mount", "-o", options, "m")
    assert done.returncode == 0, done.stderr
    (ours,) = [one for one in mounts.entries() if one.target == f"{lab}/m"]
    syscalls.umount2("m", 0)
    subprocess.run(["mount", "-t", "overlay", "-o", options, "o", "m"], check=True)
    (theirs,) = [one for one in mounts.entries() if one.target == f"{lab}/m"]
    assert ours.mount_options == theirs.mount_options
    syscalls.umount2("m", 0)
    command = layerctl("mount", "-o", options, "--print", "command", "m").stdout
    subprocess.run(["sh", "-c", command], check=True)
    (printed,) = [one for one in mounts.entries() if one.target == f"{lab}/m"]
    assert printed.mount_options == theirs.mount_options


@pytest.mark.namespace
def test_an_unknown_option_is_asked_of_the_kernel_and_the_nearest_named(lab: Path) -> None:
    make(lab, "l1", "u", "w", "m")
    words = ("mount", "-l", "l1", "-u", "u", "-w", "w", "-o", "redirct_dir=on", "m")
    if FEATURES.context:  # else the kernel judges at the mount itself
        dry = layerctl(*words, "--dry-run")
        assert dry.returncode == 1
        assert "did you mean redirect_dir?" in dry.stdout
    done = layerctl(*words)
    assert done.returncode == 32
    assert not mounted_here(lab)


@pytest.mark.namespace
@pytest.mark.parametrize(
    "api",
    ["fsconfig", "fd", "mount"],
)
def test_a_way_in_that_the_kernel_lacks_is_refused(lab: Path, api: str) -> None:
    make(lab, "l1", "l2", "m")
    done = layerctl("mount", "--api", api, "-l", "l1", "-l", "l2", "m")
    assert done.returncode == (0 if api in APIS else 32), done.stderr
    if api in APIS:
        assert layerctl("umount", "m").returncode == 0


@pytest.mark.namespace
def test_the_machine_of_the_whole_suite_has_every_way_in() -> None:
    assert os.environ.get("LAYERCTL_TESTS_FORK") or APIS == ("fsconfig", "fd", "mount")


@pytest.mark.namespace
def test_two_mounts_at_once_share_a_new_work_directory_or_one_is_refused(lab: Path) -> None:
    make(lab, "l", "u", "m1", "m2")
    if not FEATURES.context:
        return  # a kernel before 6.5 may warn and mount both: nothing to tell apart
    for _ in range(3):
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "layerctl", "mount", "-o", "index=on", "-l", "l", "-u", "u",
                 target],
                env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
            )
            for target in ("m1", "m2")
        ]  # fmt: skip
        said = [child.communicate()[1] for child in children]
        codes = [child.returncode for child in children]
        assert sorted(codes) == [0, 32], said
        assert sorted(os.listdir("u.work")) == ["index", "work"]
        won = ("m1", "m2")[codes.index(0)]
        (lab / won / "written").write_text("through the work directory")
        syscalls.umount2(won, 0)
        subprocess.run(["rm", "-rf", "u.work", "u/written"], check=True)


@pytest.mark.namespace
@pytest.mark.parametrize(
    "words",
    [("mount", "-l", "l1", "-l", "l2", "m"), ("umount", "m"), ("list",)],
)
def test_without_proc_it_says_so(lab: Path, words: tuple[str, ...]) -> None:
    make(lab, "l1", "l2", "m")
    syscalls.mount("t", "/proc", "tmpfs", 0, "")
    done = layerctl(*words, "--json")
    error = json.loads(done.stderr)["error"]
    assert error["id"] in ("no-proc", "no-mountinfo"), error
    assert "mount -t proc" in error["commands"][0]


@pytest.mark.namespace(user=True)
def test_a_layer_with_locked_mounts_is_named(lab: Path) -> None:
    make(lab, "l", "m")
    done = layerctl("mount", "-l", "/", "-l", "l", "m", "--json")
    assert json.loads(done.stderr)["error"]["id"] == "userns-lower-with-submounts", done.stderr
