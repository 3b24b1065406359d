"""Twenty-two layers with names of 64 digits on terminals of 160, 80 and 40 columns."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from layerctl.render.elide import plain_step
from tests.support.stored import Docker
from tests.support.terminal import on_terminal

GOLDEN = Path(__file__).parent / "golden" / "terminal"
STORE = Path("/mnt/docker")
COMMANDS = {
    "list": ("list", "--mountinfo", "/mnt/mountinfo"),
    "inspect-mount": ("inspect", "mount", "/mnt/web"),
    "du": ("du", "/mnt/web"),
    "story": ("inspect", "merged", "/mnt/web", "etc/motd"),
}


def _mount() -> None:
    """Mount a container of Docker's as Docker does it, and a plain overlay."""
    store = Docker(STORE)
    names = [f"layer {number}" for number in range(20)]
    steps = [f"/bin/sh -c apt-get install -y package-{number} # buildkit" for number in range(20)]
    image = store.image("example.org/team/bigapp:2", names, steps)
    store.container("web", image)
    top = next(
        one.name.removesuffix("-init")
        for one in (STORE / "overlay2").iterdir()
        if one.name.endswith("-init")
    )
    links = [
        STORE / "overlay2" / name
        for name in (STORE / "overlay2" / top / "lower").read_text().split(":")
    ]
    upper = STORE / "overlay2" / top
    for number, link in enumerate(links):
        (link / f"file{number}").write_bytes(b"x" * 5000 * number)
    for layer in (upper / "diff", links[7], links[20]):
        (layer / "etc").mkdir()
        (layer / "etc/motd").write_text("hello\n")
        os.utime(layer / "etc/motd", (10**9, 10**9))
    lowers = ":".join(map(str, links))
    options = f"lowerdir={lowers},upperdir={upper}/diff,workdir={upper}/work"
    Path("/mnt/web").mkdir()
    syscalls.mount("overlay", "/mnt/web", "overlay", 0, options)
    for name in ("plain-upper", "plain-work", "plain-lower", "plain"):
        Path("/mnt", name).mkdir()
    options = "lowerdir=/mnt/plain-lower,upperdir=/mnt/plain-upper,workdir=/mnt/plain-work"
    syscalls.mount("overlay", "/mnt/plain", "overlay", 0, options)
    own = [
        line
        for line in Path("/proc/self/mountinfo").read_text().splitlines(True)
        if "/mnt/" in line
    ]
    (web,) = [line for line in own if " /mnt/web " in line]
    own.append(web.replace(" /mnt/web ", f" {upper}/merged "))
    Path("/mnt/mountinfo").write_text("".join(own))


@pytest.mark.namespace(place=Path("/mnt"))
@pytest.mark.parametrize("width", [160, 80, 40])
def test_tables(width: int) -> None:
    _mount()
    for name, command in COMMANDS.items():
        code, shown = on_terminal(
            *command, "--color", "never", COLUMNS=str(width), TZ="UTC", PAGER="cat"
        )
        assert code == 0, shown
        file = GOLDEN / f"{name}-{width}.txt"
        if os.environ.get("LAYERCTL_UPDATE_GOLDEN"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(shown)
        assert shown == file.read_text()
        if name == "list" and width >= 80:
            assert len(shown.splitlines()) == 2 + 3, "one row each"


@pytest.mark.namespace(place=Path("/mnt"))
def test_whole_names_where_they_are_asked_for() -> None:
    _mount()
    hashes = re.compile(r"overlay2/[0-9a-f]{64}/diff")
    assert not hashes.search(
        on_terminal("inspect", "mount", "/mnt/web", COLUMNS="160", PAGER="cat")[1]
    )
    full = on_terminal("inspect", "mount", "/mnt/web", "--full", COLUMNS="400", PAGER="cat")[1]
    assert len(hashes.findall(full)) == 21


@pytest.mark.parametrize(
    ("step", "plain"),
    [
        ('/bin/sh -c #(nop)  CMD ["bash"]', 'CMD ["bash"]'),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("RUN /bin/sh -c apt-get  update &&\n\tdd # buildkit", "RUN apt-get update && dd"),
        ("RUN |1 VERSION=2 /bin/sh -c make # buildkit", "RUN make"),
        ("|1 VERSION=2 /bin/sh -c make", "RUN make"),
        ("COPY sdk.bin /opt/ # buildkit", "COPY sdk.bin /opt/"),
        ("", ""),
    ],
)
def test_a_step_as_in_its_dockerfile(step: str, plain: str) -> None:
    assert plain_step(step) == plain
