"""`layerctl run`: the command sees everything, and what it changes is a choice afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.usecases.applying import applying
from layerctl.usecases.keeping import Kept, open_run
from layerctl.usecases.working import do
from tests.support import ROOT, layerctl
from tests.support.killing import StoppedWorkError, every_change
from tests.support.running import WORK, build, digest, sh
from tests.support.terminal import on_terminal

pytestmark = pytest.mark.namespace


def run(*arguments: str | Path, code: int = 0) -> str:
    """Run the program; return what it writes to standard output."""
    done = layerctl("run", *map(str, arguments))
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (0, ("true",)),
        (7, ("--", "sh", "-c", "exit 7")),
        (137, ("sh", "-c", "kill -9 $$")),
        (127, ("/nonexistent",)),
        (127, ("no-such-program",)),
        (126, ("/etc/passwd",)),
        (126, ("/",)),
        (125, ("-C", "/nonexistent", "true")),
        (125, ("--no-such-option", "true")),
        (125, ()),
        (125, ("--over", "/proc", "true")),
        (125, ("--over", "/nonexistent", "true")),
        (125, ("--hide", "/nonexistent", "true")),
        (125, ("--size", "garbage", "true")),
        (125, ("--keep", "/proc/k", "true")),
        (125, ("--apply", "--drop", "true")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_exit_code_is_that_of_the_command(code: int, line: tuple[str, ...]) -> None:
    assert layerctl("run", *line).returncode == code


@pytest.mark.parametrize("user", [False, True])
def test_what_is_dropped_leaves_everything_as_it_was(lab: Path, user: bool) -> None:
    build(lab / "a")
    before = digest(lab / "a")
    script = "\n".join(WORK[one] for one in ("files", "types", "metadata", "special", "home"))
    line = ["unshare", "-Urm", "--"] if user else []
    script = script.partition("mknod")[0] if user else script
    program = [sys.executable, "-m", "layerctl", "run", "--", "sh", "-ec", f"cd a\n{script}"]
    done = subprocess.run([*line, *program], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == (1 if user else 0)
    assert digest(lab / "a") == before


@pytest.mark.parametrize("what", WORK)
def test_what_is_applied_is_what_the_command_does(lab: Path, what: str) -> None:
    build(lab / "a")
    build(lab / "b")
    sh(WORK[what], lab / "b")
    run("--keep", "k", "-C", lab / "a", "sh", "-ec", WORK[what])
    assert digest(lab / "a") != digest(lab / "b")
    planned = json.loads(layerctl("apply", "-n", "--json", "k").stdout)["steps"]
    assert planned
    assert layerctl("apply", "k").returncode == 0
    assert digest(lab / "a") == digest(lab / "b")
    assert not Path("k").exists()


def test_layers_in_memory_are_applied_as_well(lab: Path) -> None:
    build(lab / "a")
    build(lab / "b")
    script = "\n".join(WORK[one] for one in ("files", "links", "special", "metadata"))
    sh(script, lab / "b")
    run("--apply", "-C", "a", "sh", "-ec", script)
    assert digest(lab / "a") == digest(lab / "b")
    assert sorted(os.listdir(lab)) == ["a", "b"]


#: What the host does while the run is kept, and what of it is a conflict with WORK.
CONFLICTS = {
    "a file that is written": ("files", "echo host >>d/1", "a/d/1"),
    "a file that is removed": ("files", "echo host >>d/2", "a/d/2"),
    "a mode": ("files", "chmod 600 d/1", "a/d/1"),
    "a file of the same name": ("files", "echo host >sparse", "a/sparse"),
    "a file replaced by rename": ("files", "echo >h; mv h d/1", "a/d/1"),
    "a file that the host removed": ("metadata", "rm f/3", "a/f/3"),
    "a new file in a removed directory": ("home", "echo >home/user/new", "a/home/user/new"),
    "a file deep in a removed one": ("home", "echo >>home/user/.config/rc", "a/home/user"),
    "a directory made anew": ("directories", "echo host >e/new", "a/e"),
    "another directory in its place": ("files", "mv d old; mkdir d; echo >d/1", "a/d"),
    "a symbolic link": ("symlinks", "ln -sfn host l", "a/l"),
    "attributes of a directory": ("metadata", "chmod 755 f; chmod 500 f", "a/f"),
}


@pytest.mark.parametrize("what", CONFLICTS)
def test_what_the_host_changed_is_a_conflict(lab: Path, what: str) -> None:
    work, meanwhile, path = CONFLICTS[what]
    build(lab / "a")
    build(lab / "b")
    run("--keep", "k", "-C", lab / "a", "sh", "-ec", WORK[work])
    sh(meanwhile, lab / "a")
    before = digest(lab / "a")
    done = layerctl("apply", "--json", "k")
    error = json.loads(done.stderr)["error"]
    assert (done.returncode, error["id"]) == (32, "host-changed")
    assert any(one.startswith(f"{lab}/{path}") for one in error["details"]), error
    assert digest(lab / "a") == before
    assert layerctl("apply", "--force", "k").returncode == 0


@pytest.mark.parametrize(
    ("work", "meanwhile"),
    [
        ("files", "echo host >d/host; chmod 600 f/2; rm f/3; cat d/1 d/2"),
        ("renames", "echo host >deep/host; echo host >new"),
        ("links", "touch f/in/host"),
        ("directories", "mkdir q; echo host >q/host"),
    ],
)
def test_other_changes_of_the_host_are_left(lab: Path, work: str, meanwhile: str) -> None:
    build(lab / "a")
    build(lab / "b")
    run("--keep", "k", "-C", lab / "a", "sh", "-ec", WORK[work])
    sh(meanwhile, lab / "a")
    sh(meanwhile, lab / "b")
    sh(WORK[work], lab / "b")
    assert layerctl("apply", "k").returncode == 0
    assert digest(lab / "a") == digest(lab / "b")


def test_paths_can_be_applied_one_by_one(lab: Path) -> None:
    build(lab / "a")
    run("--keep", "k", "-C", lab / "a", "sh", "-ec", "echo >>d/1; rm d/2; echo >>f/1; rm -r home")
    before = digest(lab / "a")
    assert layerctl("apply", "k", "a/d/2", "a/f").returncode == 0
    after = digest(lab / "a")
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert changed - {"d", "."} == {"d/2", "f/1"}
    assert layerctl("apply", "k").returncode == 0
    assert not (lab / "a/home").exists()


def test_a_run_goes_on_where_another_one_ended(lab: Path) -> None:
    build(lab / "a")
    run("--keep", "k", "sh", "-ec", "echo 1 >new; rm -r a/d")
    assert (
        run("--keep", "k", "sh", "-ec", "cat new; ls a; echo 2 >>new")
        == "1\n" + "\n".join(sorted({"deep", "e", "f", "home", "l", "n", "p"})) + "\n"
    )
    assert run("--keep", "k", "ls", "k", code=0) == ""
    assert layerctl("apply", "k").returncode == 0
    assert Path("new").read_text() == "1\n2\n"


def test_a_directory_to_keep_must_hold_a_run_or_nothing(lab: Path) -> None:
    (lab / "full").mkdir()
    (lab / "full/file").touch()
    run("--keep", "full", "true", code=125)
    (lab / "open").mkdir(mode=0o777)
    (lab / "open").chmod(0o777)
    run("--keep", "open", "true", code=125)
    assert layerctl("drop", "full").returncode == 32
    assert layerctl("apply", "full").returncode == 32
    assert layerctl("drop", "nothing").returncode == 3
    run("--keep", "k", "touch", "new")
    assert layerctl("drop", "k").returncode == 0
    assert sorted(os.listdir(lab)) == ["full", "open"]


@pytest.mark.parametrize("signed", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_goes_to_the_command(signed: signal.Signals) -> None:
    script = f"trap 'echo got; exit 9' {signed.name[3:]}; echo ready; while :; do sleep 0.02; done"
    program = [sys.executable, "-m", "layerctl", "run", "--", "sh", "-c", script]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signed)
        assert process.stdout.read() == b"got\n"
    assert process.returncode == 9


def test_the_terminal_interrupts_the_command_once() -> None:
    script = "trap 'echo got' INT; echo ready; read line; echo end; exit 5"
    code, shown = on_terminal(
        "run", "--", "bash", "-c", script, wait_for=b"ready", keys=b"\x03\nd\n"
    )
    assert (code, shown.count("got")) == (5, 1), shown


def test_no_process_outlives_the_run() -> None:
    run("sh", "-c", "setsid sleep 77777 >/dev/null 2>&1 & setsid -f sleep 77777")
    assert b"sleep\x0077777" not in _command_lines()


def _command_lines() -> bytes:
    found = b""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            found += Path(f"/proc/{pid}/cmdline").read_bytes() + b"\n"
        except OSError:
            continue
    return found


def test_processes_can_be_kept() -> None:
    fifo = Path(f"/dev/shm/layerctl-{os.getpid()}")  # /dev is not layered
    os.mkfifo(fifo)
    script = f"(read line <{fifo}; echo $line >out; cat out >{fifo}) >/dev/null 2>&1 &"
    run("--keep", "k", "--keep-processes", "sh", "-c", script)
    assert json.loads(layerctl("apply", "--json", "k").stderr)["error"]["id"] == "layer-locked"
    fifo.write_text("hello\n")
    assert fifo.read_text() == "hello\n"
    fifo.unlink()


def test_killing_the_program_kills_the_command() -> None:
    program = [sys.executable, "-m", "layerctl", "run", "sh", "-c", "echo ready; sleep 88888"]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        assert process.stdout.read() == b""  # nothing has it open any more


#: Ways to reach the host, each of which writes to the layers only.
ESCAPES = {
    "an absolute path": "echo x >{lab}/file",
    "/proc/self/root": "echo x >/proc/self/root{lab}/file",
    "/proc/1/root": "echo x >/proc/1/root{lab}/file",
    "every process": "for p in /proc/[0-9]*; do echo x >$p/root{lab}/file; done",
    "every open directory": "for p in /proc/[0-9]*/fd/* /proc/[0-9]*/cwd; do "
    "for up in . .. ../.. ../../.. ../../../..; do "
    "[ -f $p/$up{lab}/file ] && echo x >$p/$up{lab}/file; done; done; true",
    "a bind mount": "mkdir m; mount --bind {lab} m; echo x >m/file",
    "a hard link": "ln file other; echo x >other",
    "chroot": "chroot / sh -c 'echo x >{lab}/file'",
    "out of chroot": "python3 -c \"import os; os.mkdir('c'); os.chroot('c'); "
    "[os.chdir('..') for _ in range(99)]; os.chroot('.'); "
    "open('{lab}/file', 'w').write('x')\"",
    "unmounting": "umount -l /proc; umount -l {lab}; umount -l /; umount -R -l /; "
    "echo x >{lab}/file",
    "a new mount namespace": "unshare -m sh -c 'echo x >{lab}/file'",
    "the namespace of pid 1": "nsenter -m -t 1 sh -c 'echo x >{lab}/file'",
    "remounting": "mount -o remount,rw /; echo x >{lab}/file",
    "a set-user-ID program": "cp /bin/sh s; chmod 4755 s; ./s -c 'echo x >{lab}/file'",
    "an inherited descriptor": "ls /proc/self/fd >fds; for n in 3 4 5 6 7 8 9; do "
    '(eval "echo x >&$n") 2>/dev/null; done; true',
    "the working directory": "cd ..; cd {lab}; echo x >file; cd -P .; "
    "echo x >../$(basename {lab})/file",
    "removing everything": "rm -rf {lab}/*",
}


@pytest.mark.parametrize("way", ESCAPES)
def test_nothing_reaches_the_host(lab: Path, way: str) -> None:
    (lab / "file").write_text("host\n")
    before = digest(lab)
    fd = os.open(lab / "file", os.O_WRONLY | os.O_APPEND)
    os.set_inheritable(fd, True)
    script = ESCAPES[way].format(lab=lab)
    program = [sys.executable, "-m", "layerctl", "run", "--drop", "--", "sh", "-c", script]
    subprocess.run(program, env={**os.environ, "PYTHONPATH": str(ROOT)}, close_fds=False)
    os.close(fd)
    assert digest(lab) == before


def test_mounts_keep_their_meaning(lab: Path) -> None:
    sh(
        "mkdir one two sub ro real; echo f >one/f; mount --bind one two; mount -t tmpfs sub sub; "
        "echo s >sub/s; mount -t tmpfs ro ro; echo r >ro/r; mount -o remount,ro ro; "
        "echo file >file; echo other >other; mount --bind other file; ln -s sub link; "
        "mkdir one/deep; mount --bind one/deep real",
        lab,
    )
    script = """
    echo by-two >>two/f; cat one/f; echo by-one >>one/f; cat two/f | wc -l
    echo more >>link/s; cat sub/s; (echo no >ro/r) 2>/dev/null || echo read-only; cat ro/r
    echo changed >>file; cat other; touch real/new; ls one/deep; mountpoint -q sub && echo mounted
    """
    shown = run("--keep", "k", "sh", "-c", script).split()
    assert shown == ["f", "by-two", "3", "s", "more", "read-only", "r", "other", "changed", "new",
                     "mounted"]  # fmt: skip
    assert layerctl("apply", "k").returncode == 0
    texts = [(lab / name).read_text() for name in ("one/f", "two/f", "sub/s", "ro/r", "other")]
    assert texts == ["f\nby-two\nby-one\n"] * 2 + ["s\nmore\n", "r\n", "other\nchanged\n"]
    assert (lab / "real/new").exists()


def test_a_layer_is_applied_only_where_it_was(lab: Path) -> None:
    sh("mkdir m; mount -t tmpfs m m; echo 1 >m/f", lab)
    run("--keep", "k", "sh", "-c", "echo 2 >m/f")
    sh("umount m", lab)
    error = json.loads(layerctl("apply", "--json", "k").stderr)["error"]
    assert error["id"] == "place-changed"
    assert not (lab / "m/f").exists()


def test_only_some_directories_can_be_layered(lab: Path) -> None:
    sh("mkdir -p a/sub b; mount -t tmpfs sub a/sub", lab)
    run("--over", "a", "sh", "-c", "echo >a/new; echo >a/sub/new; echo >b/new")
    assert [(lab / one).exists() for one in ("a/new", "a/sub/new", "b/new")] == [False, False, True]
    run("--over", "a", "--ro", "sh", "-c", "echo >a/new && ! echo >b/new2 && ! echo >/etc/new")


def test_everything_can_be_read_only(lab: Path) -> None:
    run("--ro", "sh", "-c", f"! touch {lab}/new && ! touch /etc/new && ls {lab} >/dev/null")


def test_paths_are_hidden(lab: Path) -> None:
    sh("mkdir secret; echo 1 >secret/key; echo 2 >file", lab)
    shown = run(
        "--hide", "secret", "--hide", "file", "sh", "-c", "ls secret; cat file; ! touch secret/x"
    )
    assert shown == ""
    assert (lab / "secret/key").read_text() == "1\n"


def test_the_network_can_be_taken_away() -> None:
    script = "ls /proc/sys/net/ipv4/conf; cat /proc/net/route"
    assert run("--no-net", "sh", "-c", script).split() == [
        "all", "default", "lo", "Iface", "Destination", "Gateway", "Flags", "RefCnt", "Use",
        "Metric", "Mask", "MTU", "Window", "IRTT",
    ]  # fmt: skip


def test_the_size_of_the_layers_is_limited() -> None:
    run("--size", "1M", "sh", "-c", "! head -c 3000000 /dev/zero >big", code=0)


def test_runs_nest_as_deep_as_the_kernel_stacks() -> None:
    inner = f"{sys.executable} -m layerctl run --drop"
    script = f"export PYTHONPATH={ROOT}; echo 1 >f; {inner} sh -c 'cat f; echo 2 >f; {inner} true'"
    done = layerctl("run", "sh", "-c", script)
    assert (done.stdout, done.returncode) == ("1\n", 125)
    assert "two others" in done.stderr


def test_the_plan_is_shown(lab: Path) -> None:
    points = json.loads(run("-n", "--json", "true"))["points"]
    found = {one["target"]: one["how"] for one in points}
    assert (found["/"], found["/proc"], found[str(lab)]) == ("layered", "a new one", "layered")
    assert f"{lab} " in run("-n", "true")


def test_changes_are_written_as_json(lab: Path) -> None:
    build(lab / "a")
    script = "echo out; rm a/d/2; echo >a/d/1; exit 3"
    document = json.loads(run("--json", "sh", "-c", script, code=3))
    assert (document["exit_code"], document["result"]) == (3, "dropped")
    changes = [(one["change"], one["path"]) for one in document["changes"]]
    assert changes == [("deleted", f"{lab}/a/d/2"), ("modified", f"{lab}/a/d/1")]


@pytest.mark.parametrize(
    ("keys", "there"),
    [(b"d\n", False), (b"a\n", True), (b"\x04", False), (b"what\nk kept\n", False),
     (b"f\nt\na\n", True)],
    ids=repr,
)  # fmt: skip
def test_a_person_is_asked(lab: Path, keys: bytes, there: bool) -> None:
    (lab / "old").touch()
    code, shown = on_terminal(
        "run", "--", "sh", "-c", "echo 1 >new; rm old; exit 4", wait_for=b"[d]rop", keys=keys
    )
    assert code == 4
    assert shown.index("deleted ") < shown.index("added ")
    assert ((lab / "new").exists(), (lab / "old").exists()) == (there, not there)
    if b"kept" in keys:
        assert layerctl("apply", "kept").returncode == 0
        assert (lab / "new").exists()


def test_a_person_can_look_in_a_shell(lab: Path) -> None:
    code, shown = on_terminal(
        "run", "--", "sh", "-c", "echo 1 >new", wait_for=b"[d]rop",
        keys=b"s\ncat new; echo 2 >more\nexit\n" + f"{lab}/more\nd\n".encode(), SHELL="/bin/sh",
    )  # fmt: skip
    assert code == 0, shown
    assert sorted(os.listdir(lab)) == ["more"], shown


def _killed(kept: Kept, number: int) -> bool:
    """Apply a run, stopped at a change; tell whether it was."""

    def stop(at: int, done: bool) -> None:
        if at == number and done == bool(number % 2):
            raise StoppedWorkError

    try:
        with every_change(stop), applying(kept, (), force=False, dry_run=False) as steps:
            for _ in do(steps):
                pass
    except StoppedWorkError:
        return True
    return False


@pytest.mark.parametrize("what", ["types", "links", "directories", "special"])
def test_applying_that_is_interrupted_is_completed(lab: Path, what: str) -> None:
    build(lab / "a")
    build(lab / "b")
    sh(WORK[what], lab / "b")
    run("--keep", "k", "-C", lab / "a", "sh", "-ec", WORK[what])
    number = 0
    while True:
        kept = open_run("k")
        stopped = _killed(kept, number)
        os.close(kept.fd)
        if not stopped:
            break
        number += 1
    assert number > 4
    assert digest(lab / "a") == digest(lab / "b")


def test_a_run_that_cannot_start_leaves_no_directory(lab: Path) -> None:
    run("-n", "--keep", "k", "true")
    run("--keep", "k", "--hide", f"/proc/{os.getpid()}/mem", "true", code=125)
    sh("mkdir l u w m; mount -t overlay -o lowerdir=l,upperdir=u,workdir=w o m", lab)
    run("--keep", "m/k", "true", code=125)
    assert sorted(os.listdir(lab)) == ["l", "m", "u", "w"]
