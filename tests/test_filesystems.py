"""The table of filesystems: its sets agree with each other; and two decisions about options."""

from __future__ import annotations

import pytest

from layerctl.model import Layer, Role, Stack
from layerctl.rules import filesystems
from layerctl.rules.overlay import default_work, trusted_options, work_beside


@pytest.mark.parametrize(
    ("fstype", "family"),
    [
        ("nfs4", "nfs"),
        ("9p", ""),  # whether it is remote to the kernel depends on its cache
        ("fuse.sshfs", "fuse"),
        ("overlay", "overlay"),
        ("zfs", "zfs"),
        ("ext4", ""),
        ("vfat", ""),  # refused as any layer, not as the upper one
    ],
)
def test_an_upper_filesystem_that_overlay_may_refuse(fstype: str, family: str) -> None:
    assert filesystems.doubtful_upper(fstype) == family


@pytest.mark.parametrize("fstype", sorted(filesystems.NETWORK))
def test_a_network_filesystem_is_of_the_remote_family(fstype: str) -> None:
    assert filesystems.family(fstype) == "nfs"
    assert not filesystems.suits_upper(fstype)


@pytest.mark.parametrize("fstype", sorted(filesystems.OWN_NAMES - {"autofs"}))
def test_what_compares_names_by_its_own_rules_is_of_that_family(fstype: str) -> None:
    assert filesystems.family(fstype) == "names"


@pytest.mark.parametrize(
    ("name", "value", "trusted"),
    [
        ("redirect_dir", "follow", True),
        ("redirect_dir", "nofollow", False),
        ("metacopy", "on", True),
        ("verity", "require", True),
        ("index", "on", False),
    ],
)
def test_options_that_need_trusted_attributes(name: str, value: str, trusted: bool) -> None:
    assert trusted_options({name: value, "xino": "on"}) == [name] * trusted


def test_the_default_work_directory_is_beside_the_upper_one() -> None:
    stack = Stack("overlay", (Layer("/u/", Role.UPPER), Layer("/l", Role.LOWER)))
    assert default_work(stack) == work_beside("/u") == "/u.work"
    assert default_work(stack._replace(work="/w")) is None
    assert default_work(stack._replace(fstype="aufs")) is None
    assert default_work(stack._replace(layers=stack.layers[1:])) is None
