"""`layerctl run` as an ordinary user, in a user namespace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.running import as_user, build, digest, sh

pytestmark = pytest.mark.namespace

#: A user of whom the system knows nothing.
USER = 54321


def _own(lab: Path) -> None:
    """Give the lab to the user, with nothing in it that only root can make."""
    lab.chmod(0o755)
    for name in ("a", "b"):
        build(lab / name)
        sh("rm n; setfattr -x trusted.t f/2; chmod 755 f/1", lab / name)
    sh(f"chown -hR {USER}:{USER} .", lab)


def test_the_user_stays_the_same_and_nothing_is_changed(lab: Path) -> None:
    _own(lab)
    before = digest(lab)
    script = f"id -u; echo x >>a/d/1; rm -r a/e; mkdir {lab}/new; touch /tmp/x /var/tmp/x; exit 3"
    code, out, err = as_user(USER, "run", "sh", "-ec", script)
    assert (code, out) == (3, f"{USER}\n"), err
    assert digest(lab) == before


@pytest.mark.parametrize(
    "script",
    [
        "echo more >>d/1; rm d/2; chmod 700 f; touch -d @77 f/1; mv deep/y deep/z; mkfifo q",
        "rm -r e; mkdir e; echo >e/3; rm -r home; ln -sfn x l; ln f/2 two; chmod 700 d",
    ],
)
@pytest.mark.parametrize("memory", [False, True])
def test_what_is_applied_is_what_the_command_does(lab: Path, script: str, memory: bool) -> None:
    _own(lab)
    sh(script, lab / "b")
    sh(f"chown -hR {USER}:{USER} .", lab)
    options = ("--apply",) if memory else ("--keep", "k")
    code, _, err = as_user(USER, "run", *options, "-C", "a", "sh", "-ec", script)
    assert code == 0, err
    if not memory:
        assert as_user(USER, "apply", "k")[0] == 0
    assert digest(lab / "a") == digest(lab / "b")


def test_what_others_own_cannot_be_written(lab: Path) -> None:
    _own(lab)
    sh("echo 1 >of-root; mkdir open; chmod 1777 open", lab)
    assert as_user(USER, "run", "sh", "-c", "echo >open/new && cat open/new")[:2] == (0, "\n")
    code, _, err = as_user(USER, "run", "sh", "-c", "echo 2 >of-root || echo 2 >/etc/passwd")
    assert code != 0
    assert err.count("Permission denied") == 2
    assert as_user(USER, "run", "rm", "-f", "of-root")[0] == 0  # the directory is the user's
    assert (lab / "of-root").exists()


def test_a_set_user_id_program_does_not_become_root(lab: Path) -> None:
    _own(lab)
    sh("cp $(command -v id) id; chmod 4755 id", lab)
    assert as_user(USER, "run", "./id", "-u")[1] == f"{USER}\n"


def test_nothing_reaches_the_host_by_way_of_other_processes(lab: Path) -> None:
    _own(lab)
    before = digest(lab)
    script = (
        f"for p in /proc/[0-9]*; do echo x >$p/root{lab}/a/d/1; echo x >$p/cwd/a/d/1; "
        f"for f in $p/fd/*; do echo x >$f/../../../../../../{lab}/a/d/1; done; done; true"
    )
    assert as_user(USER, "run", "sh", "-c", script)[0] == 0
    assert digest(lab) == before


def test_only_the_owner_of_a_run_can_apply_it(lab: Path) -> None:
    _own(lab)
    assert as_user(USER, "run", "--keep", "k", "touch", "a/new")[0] == 0
    code, _, err = as_user(USER + 1, "apply", "k")
    assert code == 32
    assert "not-a-kept-run" in err
    assert not os.path.exists("a/new")
