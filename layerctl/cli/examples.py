"""Two examples for every command, in help and manual pages; the tests run each of them in order."""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """A command line and what it is for; `code` is the exit code it ends with where it is run."""

    what: str
    line: str
    code: int = 0


#: By command, in an order in which they can be run: layers `upper` and `lower`, then `merged`.
#: An aufs is mounted on /srv/aufs where the kernel has it.
EXAMPLES: dict[str, tuple[Example, Example]] = {
    "": (
        Example("Mount a writable copy of a directory.", "layerctl mount -u upper -l lower merged"),
        Example("Unmount it; what was changed stays in upper.", "layerctl umount merged"),
    ),
    "mount": (
        Example(
            "Three layers, topmost first; the changes go to upper.",
            "layerctl mount -u upper -l lower -l base merged",
        ),
        Example(
            "Show what mounting an aufs would do, with options as for mount(8).",
            "layerctl mount -n -t aufs -o br=upper=rw:lower=ro none mnt",
            1,
        ),
    ),
    "list": (
        Example("Every layered mount, and whose container it is.", "layerctl list"),
        Example(
            "Targets and upper directories for a script.",
            "layerctl list --raw --noheadings --output TARGET,UPPER",
        ),
    ),
    "inspect": (
        Example("Which layer does a file come from?", "layerctl inspect merged merged etc/fstab"),
        Example("What was deleted?", "layerctl inspect whiteouts merged"),
    ),
    "inspect mount": (
        Example("The layers and options of a mount.", "layerctl inspect mount merged"),
        Example("The same as JSON.", "layerctl inspect mount merged --json"),
    ),
    "inspect merged": (
        Example("The whole tree, each name with its layer.", "layerctl inspect merged merged"),
        Example(
            "One path in layers that nobody has mounted.",
            "layerctl inspect merged -u upper -l lower -l base etc/fstab",
        ),
    ),
    "inspect whiteouts": (
        Example("What the layers hide, and how.", "layerctl inspect whiteouts merged"),
        Example(
            "The marker files themselves, for xargs -0.",
            "layerctl inspect whiteouts merged -0",
        ),
    ),
    "inspect changes": (
        Example("What was done in the upper layer?", "layerctl inspect changes merged"),
        Example(
            "The same in the letters of docker diff.",
            "layerctl inspect changes merged --format docker",
        ),
    ),
    "inspect aufs": (
        Example("Every aufs with its branches and xino file.", "layerctl inspect aufs"),
        Example("One of them, as JSON.", "layerctl inspect aufs --json /srv/aufs", 3),
    ),
    "doctor": (
        Example("What is wrong with a mount that is there?", "layerctl doctor merged"),
        Example(
            "Would this mount work, and if not, why?",
            "layerctl doctor -u upper -l lower -l no-such-layer merged",
            1,
        ),
    ),
    "explain": (
        Example("Why is this, and what to do?", "layerctl explain overlapping-layers"),
        Example("What can EXDEV mean?", "layerctl explain EXDEV"),
    ),
    "umount": (
        Example("Unmount.", "layerctl umount merged"),
        Example("Detach a mount that is busy.", "layerctl umount --lazy merged", 3),
    ),
    "branch": (
        Example("The branches of an aufs.", "layerctl branch list /srv/aufs", 3),
        Example("One more branch below all.", "layerctl branch append /srv/aufs base=ro", 3),
    ),
    "branch list": (
        Example("The branches, topmost first.", "layerctl branch list /srv/aufs", 3),
        Example("Their directories, for xargs -0.", "layerctl branch list -0 /srv/aufs", 3),
    ),
    "branch add": (
        Example(
            "A branch on top, which becomes where new files go.",
            "layerctl branch add /srv/aufs 0 fresh=rw",
            3,
        ),
        Example("Only show how.", "layerctl branch add -n /srv/aufs 1 patches=ro+wh", 3),
    ),
    "branch append": (
        Example("A branch below all.", "layerctl branch append /srv/aufs base=ro", 3),
        Example("Several, in order.", "layerctl branch append /srv/aufs one=ro two=ro", 3),
    ),
    "branch prepend": (
        Example("A branch above all.", "layerctl branch prepend /srv/aufs fresh=rw", 3),
        Example("Only show how.", "layerctl branch prepend -n /srv/aufs fresh=rw", 3),
    ),
    "branch del": (
        Example(
            "Take a branch away; its directory stays.", "layerctl branch del /srv/aufs base", 3
        ),
        Example("Only show how.", "layerctl branch del -n /srv/aufs base", 3),
    ),
    "branch mod": (
        Example("Write to a branch no more.", "layerctl branch mod /srv/aufs upper=ro", 3),
        Example(
            "Honour the whiteouts of a read-only branch.",
            "layerctl branch mod /srv/aufs lower=ro+wh",
            3,
        ),
    ),
    "schema": (
        Example("What does list --json write?", "layerctl schema list"),
        Example("And what stands on standard error when it fails?", "layerctl schema error"),
    ),
}
