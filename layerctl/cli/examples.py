"""Two examples per command, for help and manual pages; the tests run them in order."""

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
        Example("Mount a writable view of a directory.", "layerctl mount -u upper -l lower merged"),
        Example("Unmount it; the changes stay in upper.", "layerctl umount merged"),
    ),
    "mount": (
        Example(
            "Mount three layers, topmost first; changes go to upper.",
            "layerctl mount -u upper -l lower -l base merged",
        ),
        Example(
            "Show what mounting an aufs would do, with options as for mount(8).",
            "layerctl mount -n -t aufs -o br=upper=rw:lower=ro none mnt",
            1,
        ),
    ),
    "list": (
        Example("List every layered mount, and its container.", "layerctl list"),
        Example(
            "Print targets and upper directories for a script.",
            "layerctl list --raw --noheadings --output TARGET,UPPER",
        ),
    ),
    "inspect": (
        Example("Show which layer a file comes from.", "layerctl inspect merged merged etc/fstab"),
        Example("Show what was deleted.", "layerctl inspect whiteouts merged"),
    ),
    "inspect mount": (
        Example("Show the layers and options of a mount.", "layerctl inspect mount merged"),
        Example("The same as JSON.", "layerctl inspect mount merged --json"),
    ),
    "inspect merged": (
        Example("Show the whole tree, each name with its layer.", "layerctl inspect merged merged"),
        Example(
            "Show one path in layers that are not mounted.",
            "layerctl inspect merged -u upper -l lower -l base etc/fstab",
        ),
    ),
    "inspect whiteouts": (
        Example("Show what the layers hide, and how.", "layerctl inspect whiteouts merged"),
        Example(
            "Print the marker files, for xargs -0.",
            "layerctl inspect whiteouts merged -0",
        ),
    ),
    "inspect changes": (
        Example("Show the changes in the upper layer.", "layerctl inspect changes merged"),
        Example(
            "The same in the format of docker diff.",
            "layerctl inspect changes merged --format docker",
        ),
    ),
    "inspect aufs": (
        Example("Show every aufs with its branches and xino file.", "layerctl inspect aufs"),
        Example("Show one of them as JSON.", "layerctl inspect aufs --json /srv/aufs", 3),
    ),
    "which": (
        Example("Tell which layer a file comes from.", "layerctl which merged/etc/fstab"),
        Example("Name the container and the image of a layer.", "layerctl which overlay2/HASH", 3),
    ),
    "cat": (
        Example("Show a file as the mount shows it.", "layerctl cat merged etc/fstab"),
        Example("Show the version in layer 1.", "layerctl cat merged etc/fstab --layer 1"),
    ),
    "diff": (
        Example("Compare a mount with a directory.", "layerctl diff lower merged"),
        Example("Show what changed inside text files.", "layerctl diff lower merged etc --diff"),
    ),
    "du": (
        Example("Show what the layers of a mount take up.", "layerctl du merged"),
        Example("Show the ten largest paths, hidden ones too.", "layerctl du merged --top 10"),
    ),
    "doctor": (
        Example("Find out what is wrong with an existing mount.", "layerctl doctor merged"),
        Example(
            "Check whether a mount would work, and if not, why.",
            "layerctl doctor -u upper -l lower -l no-such-layer merged",
            1,
        ),
    ),
    "explain": (
        Example("Show why it happens, and what to do.", "layerctl explain overlapping-layers"),
        Example("What can EXDEV mean?", "layerctl explain EXDEV"),
    ),
    "umount": (
        Example("Unmount.", "layerctl umount merged"),
        Example("Detach a busy mount.", "layerctl umount --lazy merged", 3),
    ),
    "check": (
        Example("Check the layers of an overlay.", "layerctl check -u upper -l lower"),
        Example(
            "Mend what is safe to mend; keep what is removed.",
            "layerctl check --repair -u upper -l lower",
        ),
    ),
    "restore": (
        Example(
            "Bring a file back that was deleted or changed.",
            "layerctl restore -u upper -l lower etc/fstab",
        ),
        Example(
            "Show what would be dropped of a directory.",
            "layerctl restore -n -r -u upper -l lower etc",
        ),
    ),
    "trim": (
        Example("Show what an upper layer holds needlessly.", "layerctl trim -n -u upper -l lower"),
        Example("Remove it; the merged tree stays as it is.", "layerctl trim -u upper -l lower"),
    ),
    "commit": (
        Example("Show how two layers would be merged.", "layerctl commit -n -u upper -l lower"),
        Example("Merge them; upper is empty afterwards.", "layerctl commit -u upper -l lower"),
    ),
    "convert": (
        Example(
            "Copy an upper layer as a branch of an aufs.",
            "layerctl convert upper --to aufs --into branch",
        ),
        Example(
            "Show how a branch of an aufs becomes a layer of an overlay.",
            "layerctl convert -n branch --to overlay",
        ),
    ),
    "deref": (
        Example(
            "Copy an upper layer for a kernel that does not know redirects.",
            "layerctl deref --into plain -u upper -l lower",
        ),
        Example(
            "Only show what would be copied.",
            "layerctl deref -n --into other -u upper -l lower",
        ),
    ),
    "run": (
        Example("See what a command would change.", "layerctl run --stat -- touch lower/new"),
        Example("Keep the changes, to decide later.", "layerctl run --keep try -- rm -r lower"),
    ),
    "apply": (
        Example("See what would be done.", "layerctl apply -n try"),
        Example("Apply only what changed in one directory.", "layerctl apply try lower/new"),
    ),
    "drop": (
        Example("Forget a run.", "layerctl drop try"),
        Example("Forget another one, in a script.", "layerctl drop --json /srv/try", 3),
    ),
    "pack": (
        Example(
            "Write an upper layer to a file, compressed.",
            "layerctl pack -u upper -l lower --compress gzip -o layer.tar.gz",
        ),
        Example(
            "Write all that two layers show together.",
            "layerctl pack -u upper -l lower --merged -o tree.tar",
        ),
    ),
    "unpack": (
        Example("Unpack a layer archive as a lower layer.", "layerctl unpack layer.tar.gz layer"),
        Example(
            "Apply an archive to a plain tree.",
            "layerctl unpack --as plain tree.tar tree",
        ),
    ),
    "branch": (
        Example("List the branches of an aufs.", "layerctl branch list /srv/aufs", 3),
        Example("Add a branch at the bottom.", "layerctl branch append /srv/aufs base=ro", 3),
    ),
    "branch list": (
        Example("List the branches, topmost first.", "layerctl branch list /srv/aufs", 3),
        Example("Print their directories, for xargs -0.", "layerctl branch list -0 /srv/aufs", 3),
    ),
    "branch add": (
        Example(
            "Add a branch at the top, for new files.",
            "layerctl branch add /srv/aufs 0 fresh=rw",
            3,
        ),
        Example(
            "Only show the remount options.", "layerctl branch add -n /srv/aufs 1 patches=ro+wh", 3
        ),
    ),
    "branch append": (
        Example("Add a branch at the bottom.", "layerctl branch append /srv/aufs base=ro", 3),
        Example("Add several, in order.", "layerctl branch append /srv/aufs one=ro two=ro", 3),
    ),
    "branch prepend": (
        Example("Add a branch at the top.", "layerctl branch prepend /srv/aufs fresh=rw", 3),
        Example(
            "Only show the remount options.", "layerctl branch prepend -n /srv/aufs fresh=rw", 3
        ),
    ),
    "branch del": (
        Example("Remove a branch; its directory stays.", "layerctl branch del /srv/aufs base", 3),
        Example("Only show the remount options.", "layerctl branch del -n /srv/aufs base", 3),
    ),
    "branch mod": (
        Example("Stop writing to a branch.", "layerctl branch mod /srv/aufs upper=ro", 3),
        Example(
            "Honour the whiteouts of a read-only branch.",
            "layerctl branch mod /srv/aufs lower=ro+wh",
            3,
        ),
    ),
    "schema": (
        Example("Show what list --json writes.", "layerctl schema list"),
        Example("Show what a failing command writes to standard error.", "layerctl schema error"),
    ),
}
