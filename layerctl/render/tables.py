"""Every command's columns: the one table that outputs, schemas, manual pages and docs come from."""

from __future__ import annotations

from layerctl.render.columns import (
    Column,
    Listing,
    Single,
    choice,
    flag,
    number,
    numbers,
    objects,
    one,
    original,
    path,
    paths,
    records,
    share,
    size,
    text,
    texts,
)
from layerctl.render.json import Document

_TYPES = ("overlay", "aufs")


def _layer_cells(row: Document) -> list[str]:
    return [original(layer, "path") for layer in row["layers"]]


def _branch_cells(row: Document) -> list[str]:
    return [f"{original(one, 'path')}={one['permission']}" for one in row["branches"]]


def _option_cells(row: Document) -> list[str]:
    return [name if value is True else f"{name}={value}" for name, value in row["options"].items()]


def _upper(row: Document) -> list[str]:
    return [original(one, "path") for one in row["layers"] if one["role"] == "upper"]


LAYER = (
    number("INDEX", "place in the stack, 0 the topmost"),
    choice("ROLE", "what the layer is for", ("upper", "lower", "data", "branch")),
    path("PATH", "the layer's directory, as the kernel shows it"),
    text("PERMISSION", "what aufs may do with the branch", required=False),
)

MOUNT = (
    path("TARGET", "where it is mounted", nullable=True)._replace(style=lambda _: "bold"),
    choice("TYPE", "filesystem type", _TYPES),
    path("SOURCE", "the source as given to mount", nullable=True),
    records("LAYERS", "the layers, topmost first", LAYER, _layer_cells),
    path("WORK", "the work directory of an overlay", required=False),
    Column(
        "OPTIONS",
        "the filesystem's own options in effect",
        {"type": "object", "additionalProperties": {"type": ["string", "boolean"]}},
        cell=_option_cells,
    ),
    texts("FLAGS", "options of any mount, such as nosuid"),
    flag("READ_ONLY", "whether nothing can be written"),
    texts("NOTES", "what could not be read", required=False),
    Column(
        "MODE",
        "ro or rw",
        cell=lambda row: "ro" if row["read_only"] else "rw",
        style=lambda row: "yellow" if row["read_only"] else "green",
    ),
    Column("DEPTH", "number of layers", cell=lambda row: str(len(row["layers"]))),
    Column("TOP", "the topmost layer", cell=lambda row: _layer_cells(row)[:1]),
    Column("UPPER", "the upper directory of an overlay", cell=_upper),
)
MOUNTS = Listing("mounts", MOUNT, ("TARGET", "TYPE", "MODE", "DEPTH", "TOP"))
#: One mount's layers, a row each: what a script takes apart.
LAYERS = Listing(
    "layers",
    (*LAYER, *(column for column in MOUNT if column.name in ("TARGET", "TYPE", "SOURCE"))),
    ("INDEX", "ROLE", "PERMISSION", "PATH"),
    alone="PATH",
    when="with --raw, -0 or a column of a layer",
)

CONTAINER = (
    text("ENGINE", "docker, podman or containerd"),
    text("ID", "the container's id"),
    text("NAME", "its name, where one can be read", nullable=True),
)


def _container(row: Document) -> list[str]:
    container = row.get("container")
    return [container["name"] or container["id"][:12]] if container else []


def _engine(row: Document) -> list[str]:
    return [row["container"]["engine"]] if "container" in row else []


LIST = MOUNTS._replace(
    columns=(
        *MOUNT,
        one("CONTAINER", "the container it is the root of", CONTAINER)._replace(
            required=False, cell=_container
        ),
        Column("ENGINE", "what runs that container", cell=_engine),
    ),
    shown=("TARGET", "TYPE", "MODE", "DEPTH", "CONTAINER", "TOP"),
)

BRANCH = (
    number("INDEX", "place in the stack, 0 the topmost"),
    number("ID", "the branch's id, which stays when its place changes", nullable=True),
    path("PATH", "the branch's directory"),
    text("PERMISSION", "the permission in effect"),
)
AUFS = Listing(
    "aufs",
    (
        text("ID", "the id of the mount, as in /sys/fs/aufs/si_ID"),
        path("TARGET", "where it is mounted", nullable=True),
        path("XINO", "where the inode number table lies", nullable=True),
        records("BRANCHES", "the branches, topmost first", BRANCH, _branch_cells),
    ),
    ("ID", "TARGET", "XINO", "BRANCHES"),
)

_ENTRY_TYPES = ("dir", "file", "symlink", "char", "block", "fifo", "socket")
_UNCERTAIN = flag(
    "UNCERTAIN",
    "whether what cannot be read, or the order of lookups, could change this",
    required=False,
)
_WHY = (
    text("CAUSE", "the id of that, where another path or the index is the cause", required=False),
    path("OTHER", "the other path to the same file", required=False),
    text("WHY", "why it is not reachable, or hangs on another path", required=False),
)
_UNKNOWN = (
    texts("NOTES", "what limits the answer, in words", required=False),
    objects(
        "UNKNOWN",
        "what could not be read",
        (
            number("LAYER", "the layer's index"),
            path("PATH", "the path inside the layer"),
            text("REASON", "why it could not be read"),
        ),
        required=False,
    ),
    number("UNKNOWN_MORE", "how much more could not be read", required=False),
)

ENTRIES = Listing(
    "entries",
    (
        path("PATH", "the name in the merged tree, without a leading slash"),
        choice("TYPE", "what it is", _ENTRY_TYPES),
        number("LAYER", "index of the layer that provides it, for a directory the topmost"),
        path("PROVIDER", "that layer's directory"),
        flag("REACHABLE", "no where a listing shows it and a lookup denies it"),
        paths("MERGED_FROM", "the layers of a merged directory", required=False),
        *_WHY,
        _UNCERTAIN,
    ),
    ("PATH", "TYPE", "LAYER", "PROVIDER"),
    _UNKNOWN,
)
STORY = Listing(
    "layers",
    (
        number("INDEX", "place in the stack, 0 the topmost"),
        path("PATH", "the layer's directory"),
        choice(
            "STATE",
            "what the layer does with the path",
            ("provides", "merged", "hidden", "whiteout", "absent"),
        ),
        text("REASON", "why"),
        path("FILE", "what the layer has there", nullable=True),
        text("TYPE", "what that is", nullable=True),
    ),
    ("INDEX", "STATE", "PATH", "REASON"),
    (
        path("PATH", "the path in the merged tree"),
        flag("VISIBLE", "whether it is there"),
        text("TYPE", "what it is", nullable=True),
        number("LAYER", "index of the layer that provides it", nullable=True),
        path("PROVIDER", "that layer's directory", nullable=True),
        flag("REACHABLE", "no where a listing shows it and a lookup denies it"),
        *_WHY,
        _UNCERTAIN,
        path("LINK", "where a symbolic link leads", required=False),
        one(
            "DATA",
            "where the data of a metacopy file lies",
            (number("LAYER", "the layer's index"), path("PATH", "the path inside the layer")),
        )._replace(required=False),
        texts("STORY", "how the lookup went, in words"),
    ),
    "PATH",
    "with PATH",
)
SUMMARY = Listing(
    "summary",
    (
        number("INDEX", "place in the stack, 0 the topmost"),
        path("PATH", "the layer's directory"),
        number("ENTRIES", "how many visible entries it provides"),
        share("SHARE", "its part of all entries, from 0 to 1"),
        size("BYTES", "the size of the files among them"),
        share("BYTES_SHARE", "its part of all bytes, from 0 to 1"),
    ),
    ("INDEX", "ENTRIES", "SHARE", "BYTES", "BYTES_SHARE", "PATH"),
    alone="PATH",
    when="with --summary",
)
WHITEOUTS = Listing(
    "whiteouts",
    (
        path("PATH", "the name that it hides; of the root's own marker empty")._replace(
            cell=lambda row: original(row, "path") or "."
        ),
        path("MARKER", "the file or directory that does it"),
        number("LAYER", "index of the layer that has the marker"),
        choice("KIND", "how it is marked", ("chardev", "xattr", "aufs", "opaque")),
        numbers("HIDES", "the layers of what it hides"),
        choice("EFFECTIVE", "whether it has any effect", ("yes", "lookup-only", "no"))._replace(
            style=lambda row: "green" if row["effective"] == "yes" else "yellow"
        ),
        text("REASON", "why"),
        number("BY", "index of the layer that makes it needless", required=False),
    ),
    ("PATH", "LAYER", "KIND", "EFFECTIVE", "REASON"),
    _UNKNOWN,
    alone="MARKER",
)

_GRAVITY = {"failure": "bold red", "warning": "bold yellow", "info": "cyan"}
_SEVERITIES = ("failure", "warning", "info")
_FIX = one("FIX", "what to do", (text("TEXT", "in words"), texts("COMMANDS", "to be pasted")))
CHANGES = Listing(
    "changes",
    (
        path("PATH", "the name in the merged tree"),
        choice(
            "CHANGE",
            "what was done; unchanged is a copy of something that is still the same",
            ("added", "modified", "metadata", "deleted", "replaced", "renamed", "unchanged"),
        ),
        choice("TYPE", "what is there now, nothing where it was deleted", _ENTRY_TYPES)._replace(
            schema={"enum": [*_ENTRY_TYPES, None]}
        ),
        choice("WAS", "what was there before, nothing where it is new", _ENTRY_TYPES)._replace(
            schema={"enum": [*_ENTRY_TYPES, None]}
        ),
        number("LAYER", "index of the layer that did it"),
        texts("DIFFERS", "what is different: size, content, target, device, mode, mtime ..."),
        path("FROM", "the path before it, or its directory, was renamed", required=False),
    ),
    ("PATH", "CHANGE", "TYPE", "WAS", "DIFFERS"),
    _UNKNOWN,
)

FINDING = (
    text("CAUSE", "the cause's id, which stays the same for scripts"),
    choice("SEVERITY", "how bad it is", _SEVERITIES)._replace(
        style=lambda row: _GRAVITY[row["severity"]]
    ),
    text("TITLE", "what it is"),
    text("WHY", "why that is so"),
    texts("EVIDENCE", "what was seen"),
    _FIX._replace(cell=lambda row: row["fix"]["text"]),
    text("CERTAINTY", "how sure a text makes it, with --from", required=False),
    Column("COMMANDS", "what to run", cell=lambda row: row["fix"]["commands"]),
)
_VERDICT = choice("VERDICT", "the gravest of the findings", ("ok", "warning", "failure"))
FINDINGS = Listing(
    "findings",
    FINDING,
    ("SEVERITY", "CAUSE", "TITLE"),
    (
        _VERDICT,
        objects(
            "CHECKS",
            "what was looked at",
            (
                text("CHECK", "the check's name"),
                text("WHAT", "what it looks at"),
                texts("CAUSES", "what it found"),
            ),
        ),
        objects(
            "MACHINE",
            "the state of this machine",
            (
                text("GROUP", "what it belongs to"),
                text("WHAT", "what was looked at"),
                text("STATE", "how it stands"),
                Column("WELL", "whether that is good", {"type": ["boolean", "null"]}),
            ),
            required=False,
        ),
        objects(
            "NOISE",
            "lines of a text that mean nothing bad",
            (text("LINE", "the line"), text("MEANING", "what it means")),
            required=False,
        ),
        objects(
            "OTHERS",
            "failures that are no layered mount's",
            (text("LINE", "the line"), text("MEANING", "what it is")),
            required=False,
        ),
        text(
            "UNSAID", "what is known of a failure of which only the errno is told", required=False
        ),
        texts("DECIDE", "commands that would decide between causes", required=False),
    ),
    "CAUSE",
)
CHECKS = Listing(
    "checks",
    (
        choice("OF", "what is checked", ("plan", "mount", "machine")),
        text("CHECK", "the check's name"),
        text("WHAT", "what it looks at"),
    ),
    ("OF", "CHECK", "WHAT"),
    alone="CHECK",
    when="with --list-checks",
)
CAUSE = (
    text("CAUSE", "the id of the cause or of the error"),
    choice("SEVERITY", "how bad it is", _SEVERITIES)._replace(
        style=lambda row: _GRAVITY[row["severity"]]
    ),
    text("TITLE", "what it is"),
    text("WHY", "why that is so"),
    texts("CONFIRM", "commands that tell whether it is so"),
    _FIX._replace(cell=lambda row: row["fix"]["text"]),
    text("SINCE", "the first release of Linux that it concerns, may be empty"),
    text("UNTIL", "the first release of Linux that it no longer concerns, may be empty"),
    texts("LINKS", "where more is written"),
    Column("EXIT_CODE", "the exit code of an error", {"type": ["integer", "null"]}),
)
CAUSES = Listing("causes", CAUSE, ("CAUSE", "TITLE"))

_API = (text("NAME", "the way into the kernel"), text("WHY", "why this one"))
_NOTES = texts("NOTES", "what was done besides, in words")
_STACK = tuple(column for column in MOUNT if column.name != "NOTES")

MOUNTED = Listing(
    "mounts",
    (*MOUNT, one("API", "how it was mounted", _API)),
    (),
    (
        paths("MADE", "directories that were made"),
        _NOTES,
        objects("FINDINGS", "what the checks found", FINDING),
    ),
)
DRY_RUN = Single(
    (
        *_STACK,
        one("API", "how it would be mounted", _API, nullable=True),
        path("OPTION_STRING", "the options as mount(2) takes them", nullable=True),
        path("COMMAND", "the equivalent mount(8) command", nullable=True),
        paths("MAKE", "directories that would be made"),
        texts("STEPS", "what would be done, in order"),
        _NOTES,
        _VERDICT,
        objects("FINDINGS", "what the checks found", FINDING),
    )
)
UNMOUNTED = Listing("unmounted", MOUNT, ())

_TARGET = path("TARGET", "where the aufs is mounted")
BRANCHES = Listing("branches", LAYER, ("INDEX", "PERMISSION", "PATH"), (_TARGET,), "PATH")
#: What changes branches, and with --dry-run says by which options of a remount.
CHANGED = BRANCHES._replace(
    beside=(_TARGET, texts("REMOUNTS", "options of the remounts", required=False))
)

ERROR = Single(
    (
        one(
            "ERROR",
            "what went wrong, on standard error",
            (
                text("ID", "the error's id, or that of its cause"),
                text("MESSAGE", "what happened"),
                text("WHY", "why, may be empty"),
                text("HINT", "what helps, may be empty"),
                number("EXIT_CODE", "the exit code"),
                texts("DETAILS", "the kernel's own words", required=False),
                objects("FINDINGS", "what else the checks found", FINDING, required=False),
            ),
        ),
    )
)

#: What every command writes with --json, and `error` what any of them does when it fails.
DOCUMENTS: dict[str, tuple[Listing | Single, ...]] = {
    "mount": (MOUNTED, DRY_RUN),
    "umount": (UNMOUNTED,),
    "list": (LIST,),
    "inspect mount": (MOUNTS, LAYERS),
    "inspect aufs": (AUFS,),
    "inspect merged": (ENTRIES, STORY, SUMMARY),
    "inspect whiteouts": (WHITEOUTS,),
    "inspect changes": (CHANGES,),
    "branch list": (BRANCHES,),
    **{f"branch {word}": (CHANGED,) for word in ("add", "append", "prepend", "del", "mod")},
    "doctor": (FINDINGS, CHECKS),
    "explain": (CAUSES, Single(CAUSE)),
    "error": (ERROR,),
}
