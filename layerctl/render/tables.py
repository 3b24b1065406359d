"""Every command's columns: the one source of outputs, schemas, manual pages and docs."""

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
from layerctl.render.details import local, long_mode
from layerctl.render.elide import plain_step
from layerctl.render.json import Document
from layerctl.rules.words import size_of

_TYPES = ("overlay", "aufs")


def _layer_cells(row: Document) -> list[str]:
    return [original(layer, "path") for layer in row["layers"]]


def _branch_cells(row: Document) -> list[str]:
    return [f"{original(one, 'path')}={one['permission']}" for one in row["branches"]]


def _option_cells(row: Document) -> list[str]:
    return [name if value is True else f"{name}={value}" for name, value in row["options"].items()]


def _mode(row: Document) -> str:
    return long_mode(_LETTERS[row["type"]], row["mode"]) if "mode" in row else ""


def _owner(row: Document) -> list[str]:
    owner = row.get("owner")
    return [f"{owner['uid']}:{owner['gid']}"] if owner else []


def _data(row: Document) -> list[str]:
    return [str(row["data"]["layer"])] if "data" in row else []


def _place(row: Document) -> str:
    """Return a layer's directory for people: where a link of the engine leads."""
    return str(original(row, "directory") or original(row, "path"))


def _top(row: Document) -> str:
    """Return the topmost layer for people: what it is called, else its directory."""
    layers = row["layers"][:1]
    return "".join(layer.get("label") or _place(layer) for layer in layers)


def _at_least(row: Document, key: str) -> str:
    """Return a size for people; if its counting stopped early, that it is more."""
    if key not in row:
        return ""
    return (">" if row.get("more") else "") + size_of(row[key])


def _upper(row: Document) -> list[str]:
    return [original(one, "path") for one in row["layers"] if one["role"] == "upper"]


_DIRECTORY = path("DIRECTORY", "what PATH leads to, if it is a link of the engine", required=False)
_LABEL = text("LABEL", "what an engine's container or image calls it", required=False)._replace(
    elides="left"
)
_STEP = text("STEP", "the step that made it, in the history of an image", required=False)._replace(
    for_people=lambda row: plain_step(row.get("step", "")), elides="right"
)
LAYER = (
    number("INDEX", "position in the stack; 0 is the topmost"),
    choice("ROLE", "role of the layer", ("upper", "lower", "data", "branch")),
    path("PATH", "the layer's directory, as the kernel shows it")._replace(
        for_people=_place, elides="left"
    ),
    text("PERMISSION", "aufs permission of the branch", required=False),
    texts("MAP", "how the owners of the layer are mapped, in a dry run", required=False),
    _DIRECTORY,
    _LABEL,
    _STEP,
    size("SIZE", "bytes that it takes up; counted only if asked for", required=False)._replace(
        for_people=lambda row: _at_least(row, "size")
    ),
)

MOUNT = (
    path("TARGET", "mount point", nullable=True)._replace(style=lambda _: "bold", elides="left"),
    choice("TYPE", "filesystem type", _TYPES),
    path("SOURCE", "source, as given to mount", nullable=True),
    records("LAYERS", "the layers, topmost first", LAYER, _layer_cells),
    path("WORK", "the work directory of an overlay", required=False),
    Column(
        "OPTIONS",
        "filesystem options in effect",
        {"type": "object", "additionalProperties": {"type": ["string", "boolean"]}},
        cell=_option_cells,
    ),
    texts("FLAGS", "generic mount options, such as nosuid"),
    flag("READ_ONLY", "whether the mount is read-only"),
    texts("NOTES", "parts that could not be read", required=False),
    Column(
        "MODE",
        "ro or rw",
        cell=lambda row: "ro" if row["read_only"] else "rw",
        style=lambda row: "yellow" if row["read_only"] else "green",
    ),
    Column("DEPTH", "number of layers", cell=lambda row: str(len(row["layers"]))),
    Column(
        "TOP",
        "the topmost layer",
        cell=lambda row: _layer_cells(row)[:1],
        for_people=_top,
        elides="left",
    ),
    Column("UPPER", "the upper directory of an overlay", cell=_upper, elides="left"),
)
MOUNTS = Listing("mounts", MOUNT, ("TARGET", "TYPE", "MODE", "DEPTH", "TOP"))
#: The layers of one mount, one per row, for scripts.
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
    text("NAME", "its name, if it can be read", nullable=True),
)


def _container(row: Document) -> list[str]:
    container = row.get("container")
    return [container["name"] or container["id"][:12]] if container else []


def _engine(row: Document) -> list[str]:
    return [row["container"]["engine"]] if "container" in row else []


LIST = MOUNTS._replace(
    columns=(
        *MOUNT,
        one("CONTAINER", "container whose root it is", CONTAINER)._replace(
            required=False, cell=_container
        ),
        Column("ENGINE", "engine that runs the container", cell=_engine),
    ),
    shown=("TARGET", "TYPE", "MODE", "DEPTH", "CONTAINER", "TOP"),
)

STACKS = Listing(
    "stacks",
    (
        choice("KIND", "kind of the stack", ("mount", "container", "image")),
        text("NAME", "mount point, or name of the container or image"),
        text("ENGINE", "docker, podman or containerd", nullable=True),
        text("ID", "id of the container or image", nullable=True),
        text("STATE", "state of the container, if its engine records one", nullable=True),
        text("IMAGE", "image of the container", nullable=True),
        number("DEPTH", "number of layers"),
        path("TARGET", "where it is mounted", nullable=True),
        path("ROOT", "the store that it is in", nullable=True),
    ),
    ("KIND", "NAME", "ENGINE", "STATE", "DEPTH", "IMAGE"),
    beside=(texts("UNKNOWN", "parts of the stores that could not be read"),),
    when="with --all",
)

FATE = (
    text("CONTAINER", "a container that uses the layer"),
    choice("STATE", "what it shows of PATH", ("shown", "replaced", "deleted", "unknown")),
)


def _fate_cells(row: Document) -> list[str]:
    return [f"{one['container']}={one['state']}" for one in row["fates"]]


WHICH = Listing(
    "answers",
    (
        path("NAME", "the name, as given"),
        choice("KIND", "kind of what has this name", ("mount", "container", "image", "layer")),
        text("ENGINE", "docker, podman or containerd", nullable=True),
        text("ID", "id of the container, image or layer", nullable=True),
        text("OF", "image, container or mount that it belongs to", nullable=True),
        number("INDEX", "position of the layer in it; 0 is the topmost", nullable=True),
        text("STEP", "image step that made the layer", nullable=True),
        path("DIRECTORY", "the layer's directory", nullable=True),
        path("PATH", "the path in the layer", nullable=True),
        size("SIZE", "disk usage of the layer", nullable=True),
        flag("WHOLE", "whether SIZE is complete; if not, it is a minimum"),
        texts("USED_BY", "containers that use it"),
        records("FATES", "what those show of PATH", FATE, _fate_cells),
    ),
    ("NAME", "KIND", "OF", "INDEX", "SIZE", "USED_BY"),
    beside=(texts("UNKNOWN", "parts of the stores that could not be read"),),
)

BRANCH = (
    number("INDEX", "position in the stack; 0 is the topmost"),
    number("ID", "id of the branch, which stays the same when its position changes", nullable=True),
    path("PATH", "the branch's directory"),
    text("PERMISSION", "the permission in effect"),
)
AUFS = Listing(
    "aufs",
    (
        text("ID", "id of the mount, as in /sys/fs/aufs/si_ID"),
        path("TARGET", "mount point", nullable=True),
        path("XINO", "path of the inode number table", nullable=True),
        records("BRANCHES", "the branches, topmost first", BRANCH, _branch_cells),
    ),
    ("ID", "TARGET", "XINO", "BRANCHES"),
)

_ENTRY_TYPES = ("dir", "file", "symlink", "char", "block", "fifo", "socket")
_UNCERTAIN = flag(
    "UNCERTAIN",
    "whether unreadable parts or the order of lookups could change this",
    required=False,
)
_WHY = (
    text("CAUSE", "id of the cause, if another path or the index is involved", required=False),
    path("OTHER", "the other path to the same file", required=False),
    text("WHY", "why it is not reachable or depends on another path", required=False),
)
_UNKNOWN = (
    texts("NOTES", "limits of the answer, in words", required=False),
    objects(
        "UNKNOWN",
        "parts that could not be read",
        (
            number("LAYER", "the layer's index"),
            path("PATH", "path inside the layer"),
            text("REASON", "why it could not be read"),
        ),
        required=False,
    ),
    number("UNKNOWN_MORE", "how many more could not be read", required=False),
)

#: The first letter that ls(1) writes for each type.
_LETTERS = dict(zip(_ENTRY_TYPES, "d-lcbps", strict=True))
#: What an object is like in the layer that provides it; read only if a column is asked for.
DETAILS = (
    size("SIZE", "size in bytes", required=False),
    size("ALLOCATED", "bytes that it takes up in its layer", required=False),
    text("MODE", "permissions, in octal", required=False)._replace(for_people=_mode),
    one(
        "OWNER",
        "owner and group, as numbers",
        (number("UID", "id of the owner"), number("GID", "id of the group")),
    )._replace(required=False, cell=_owner),
    text("MTIME", "time of the last modification, in UTC", required=False)._replace(
        for_people=lambda row: local(row["mtime"]) if "mtime" in row else ""
    ),
    number("LINKS", "number of hard links in its layer", required=False),
    path("TARGET", "target of a symbolic link", required=False),
    one(
        "DATA",
        "location of the data of a metacopy file",
        (number("LAYER", "the layer's index"), path("PATH", "path inside the layer")),
    )._replace(required=False, cell=_data),
    path("REDIRECT", "where its redirect leads the lookup in lower layers", required=False),
)

ENTRIES = Listing(
    "entries",
    (
        path("PATH", "path in the merged tree, without a leading slash"),
        choice("TYPE", "what it is", _ENTRY_TYPES),
        number("LAYER", "index of the layer that provides it; for a directory, of the topmost"),
        path("PROVIDER", "that layer's directory"),
        flag("REACHABLE", "false if it is listed but a lookup of it fails"),
        paths("MERGED_FROM", "the layers of a merged directory", required=False),
        *_WHY,
        _UNCERTAIN,
        *DETAILS,
    ),
    ("PATH", "TYPE", "LAYER", "PROVIDER"),
    _UNKNOWN,
)
STORY = Listing(
    "layers",
    (
        number("INDEX", "position in the stack; 0 is the topmost"),
        path("PATH", "the layer's directory"),
        choice(
            "STATE",
            "how the layer treats the path",
            ("provides", "merged", "hidden", "whiteout", "absent"),
        ),
        text("REASON", "why"),
        path("FILE", "path of what the layer has there", nullable=True),
        text("TYPE", "what that is", nullable=True),
        *(one for one in DETAILS if one.name not in ("DATA", "REDIRECT")),
        _DIRECTORY,
        _LABEL,
        _STEP,
    ),
    ("INDEX", "STATE", "PATH", "REASON"),
    (
        path("PATH", "path in the merged tree"),
        flag("VISIBLE", "whether it is there"),
        text("TYPE", "what it is", nullable=True),
        number("LAYER", "index of the layer that provides it", nullable=True),
        path("PROVIDER", "that layer's directory", nullable=True),
        flag("REACHABLE", "false if it is listed but a lookup of it fails"),
        *_WHY,
        _UNCERTAIN,
        path("LINK", "target of a symbolic link", required=False),
        one(
            "DATA",
            "location of the data of a metacopy file",
            (number("LAYER", "the layer's index"), path("PATH", "path inside the layer")),
        )._replace(required=False),
        texts("STORY", "course of the lookup, in words"),
        *_UNKNOWN,
    ),
    "PATH",
    "with PATH",
)
SUMMARY = Listing(
    "summary",
    (
        number("INDEX", "position in the stack; 0 is the topmost"),
        path("PATH", "the layer's directory"),
        number("ENTRIES", "number of visible entries that it provides"),
        share("SHARE", "its share of all entries, from 0 to 1"),
        size("BYTES", "size of the files among them"),
        share("BYTES_SHARE", "its share of all bytes, from 0 to 1"),
        size("HIDDEN", "bytes on disk that higher layers hide; of whole stacks", required=False),
    ),
    ("INDEX", "ENTRIES", "SHARE", "BYTES", "BYTES_SHARE", "HIDDEN", "PATH"),
    alone="PATH",
    when="with --summary",
)
_SUMS = (
    number("ENTRIES", "number of entries, those that nobody sees included"),
    size("SIZE", "bytes that it takes up, as du(1) counts them"),
    size("HIDDEN", "bytes of what a higher layer replaces or deletes"),
    size("COPIED", "bytes of copied-up files with the contents of the version below"),
    share("EFFICIENCY", "the part of the bytes that is visible, from 0 to 1"),
)
_TOTAL = (one("TOTAL", "all layers together, each once", _SUMS), *_UNKNOWN)
_OF_MOUNT = path("TARGET", "mount point; null if not mounted", nullable=True)._replace(
    elides="left"
)
USAGE = Listing(
    "layers",
    (
        number("INDEX", "position in the stack; 0 is the topmost"),
        choice("ROLE", "role of the layer", ("upper", "lower", "data", "branch")),
        *_SUMS,
        number("USERS", "number of other mounts, containers and images that have the layer"),
        path("PATH", "the layer's directory")._replace(for_people=_place, elides="left"),
        _OF_MOUNT,
        paths("USED_BY", "the names of those others"),
        _DIRECTORY,
        _LABEL,
        _STEP,
    ),
    ("INDEX", "ROLE", "LABEL", "SIZE", "HIDDEN", "COPIED", "USERS", "PATH"),
    _TOTAL,
    alone="PATH",
)
USAGES = Listing(
    "stacks",
    (
        choice("KIND", "what it is", ("mount", "container", "image", "layers")),
        path("NAME", "name of the container or image, else the mount point")._replace(
            elides="left"
        ),
        _OF_MOUNT,
        choice("TYPE", "filesystem type", _TYPES),
        one("CONTAINER", "container whose root it is", CONTAINER)._replace(
            required=False, cell=_container
        ),
        number("DEPTH", "number of layers"),
        size("OWN", "bytes in layers that nothing else here has"),
        size("SHARED", "bytes in layers that others have too"),
        *_SUMS,
    ),
    ("KIND", "NAME", "DEPTH", "OWN", "SHARED", "HIDDEN", "COPIED", "EFFICIENCY"),
    _TOTAL,
    when="with several targets, or none",
)
LARGEST = Listing(
    "paths",
    (
        size("SIZE", "bytes that it takes up in its layer"),
        choice(
            "STATE",
            "what becomes of it",
            ("shown", "replaced", "deleted", "unreachable", "unused"),
        ),
        number("LAYER", "index of the layer that has it"),
        number("BY", "index of the layer that hides it", nullable=True),
        path("PATH", "path in the merged tree; a hidden directory includes all below it"),
        _OF_MOUNT,
    ),
    ("SIZE", "STATE", "LAYER", "BY", "PATH"),
    _TOTAL,
    alone="PATH",
    when="with --top",
)
WHITEOUTS = Listing(
    "whiteouts",
    (
        path("PATH", "path that it hides; empty for a marker of the root")._replace(
            cell=lambda row: original(row, "path") or "."
        ),
        path("MARKER", "file or directory that is the marker"),
        number("LAYER", "index of the layer that has the marker"),
        choice("KIND", "kind of marker", ("chardev", "xattr", "aufs", "opaque")),
        numbers("HIDES", "layers whose entries it hides"),
        choice("EFFECTIVE", "whether it has any effect", ("yes", "lookup-only", "no"))._replace(
            style=lambda row: "green" if row["effective"] == "yes" else "yellow"
        ),
        text("REASON", "why"),
        number("BY", "index of the layer that makes it redundant", required=False),
    ),
    ("PATH", "LAYER", "KIND", "EFFECTIVE", "REASON"),
    _UNKNOWN,
    alone="MARKER",
)

_GRAVITY = {"failure": "bold red", "warning": "bold yellow", "info": "cyan"}
_SEVERITIES = ("failure", "warning", "info")
_CERTAINTIES = ("certain", "likely", "possible")
_FIX = one("FIX", "what to do", (text("TEXT", "in words"), texts("COMMANDS", "ready to paste")))
WHITEOUT_SUMS = Listing(
    "summary",
    (
        number("LAYER", "index of the layer that has the markers"),
        choice("KIND", "kind of marker", ("chardev", "xattr", "aufs", "opaque")),
        choice("EFFECTIVE", "whether they have any effect", ("yes", "lookup-only", "no")),
        number("COUNT", "number of markers"),
    ),
    ("LAYER", "KIND", "EFFECTIVE", "COUNT"),
    _UNKNOWN,
    when="with --summary",
)
_CHANGE_WORDS = (
    "added", "modified", "metadata", "deleted", "replaced", "renamed", "unchanged",
)  # fmt: skip
CHANGES = Listing(
    "changes",
    (
        path("PATH", "the name in the merged tree"),
        choice(
            "CHANGE",
            "kind of change; unchanged is a copy without changes",
            _CHANGE_WORDS,
        ),
        choice("TYPE", "current type; null if deleted", _ENTRY_TYPES)._replace(
            schema={"enum": [*_ENTRY_TYPES, None]}
        ),
        choice("WAS", "previous type; null if added", _ENTRY_TYPES)._replace(
            schema={"enum": [*_ENTRY_TYPES, None]}
        ),
        number("LAYER", "index of the layer that made the change"),
        texts("DIFFERS", "differences: size, content, target, device, mode, mtime, ..."),
        path("FROM", "path before it or its directory was renamed", required=False),
        *DETAILS,
    ),
    ("PATH", "CHANGE", "TYPE", "WAS", "DIFFERS"),
    _UNKNOWN,
)

CHANGE_SUMS = Listing(
    "summary",
    (
        choice("CHANGE", "kind of change", _CHANGE_WORDS),
        number("COUNT", "number of changes"),
        size("SIZE", "size of the files among them, as they are now"),
    ),
    ("CHANGE", "COUNT", "SIZE"),
    _UNKNOWN,
    when="with --summary",
)

CHANGE_STATS = Listing(
    "stats",
    (
        path("PATH", "the name in the merged tree"),
        choice("CHANGE", "kind of change", _CHANGE_WORDS),
        number("ADDED", "number of added lines; null if it is not a text", nullable=True),
        number("REMOVED", "number of removed lines; null if it is not a text", nullable=True),
        size("SIZE", "present size; null if it is not a file", nullable=True),
        size("WAS_SIZE", "previous size; null if it was not a file", nullable=True),
        text("DIGEST", "digest of the present contents", required=False),
        text("WAS_DIGEST", "digest of the previous contents", required=False),
    ),
    ("PATH", "CHANGE", "ADDED", "REMOVED", "SIZE", "WAS_SIZE"),
    _UNKNOWN,
    when="with --stat",
)
#: The columns of changes, but of two stacks the layers are those of one or the other.
DIFFERENCES = CHANGES._replace(
    columns=tuple(
        number("LAYER", "index of the layer of B that has it; of A if deleted")
        if column.name == "LAYER"
        else column
        for column in CHANGES.columns
    )
)

FINDING = (
    text("CAUSE", "id of the cause, stable for scripts"),
    choice("SEVERITY", "severity", _SEVERITIES)._replace(
        style=lambda row: _GRAVITY[row["severity"]]
    ),
    text("TITLE", "what it is"),
    text("WHY", "why it happens"),
    texts("EVIDENCE", "what was observed"),
    _FIX._replace(cell=lambda row: row["fix"]["text"]),
    choice("CERTAINTY", "how sure the cause is", _CERTAINTIES),
    Column("COMMANDS", "commands to run", cell=lambda row: row["fix"]["commands"]),
)
_VERDICT = choice("VERDICT", "worst severity of the findings", ("ok", "warning", "failure"))
FINDINGS = Listing(
    "findings",
    FINDING,
    ("SEVERITY", "CAUSE", "TITLE"),
    (
        _VERDICT,
        objects(
            "CHECKS",
            "checks that apply",
            (
                text("CHECK", "name of the check"),
                text("WHAT", "what is so if it finds nothing"),
                texts("CAUSES", "causes that it found"),
            ),
        ),
        objects(
            "MACHINE",
            "state of this machine",
            (
                text("GROUP", "group"),
                text("WHAT", "what was checked"),
                text("STATE", "state"),
                Column("WELL", "whether that is good", {"type": ["boolean", "null"]}),
            ),
            required=False,
        ),
        objects(
            "NOISE",
            "harmless lines of the text",
            (text("LINE", "the line"), text("MEANING", "what it means")),
            required=False,
        ),
        objects(
            "OTHERS",
            "failures that do not concern layered mounts",
            (text("LINE", "the line"), text("MEANING", "what it is")),
            required=False,
        ),
        text("UNSAID", "what is known if the text has only an errno", required=False),
        texts("DECIDE", "commands that tell the causes apart", required=False),
    ),
    "CAUSE",
)
CHECKS = Listing(
    "checks",
    (
        choice("OF", "what is checked", ("plan", "mount", "machine")),
        text("CHECK", "name of the check"),
        text("WHAT", "what is so if it finds nothing"),
        text("APPLIES", "types, options and conditions that it applies to"),
    ),
    ("OF", "CHECK", "WHAT"),
    alone="CHECK",
    when="with --list-checks",
)
CAUSE = (
    text("CAUSE", "id of the cause or error"),
    choice("SEVERITY", "severity", _SEVERITIES)._replace(
        style=lambda row: _GRAVITY[row["severity"]]
    ),
    text("TITLE", "what it is"),
    text("WHY", "why it happens"),
    texts("CONFIRM", "commands that confirm it"),
    _FIX._replace(cell=lambda row: row["fix"]["text"]),
    text("SINCE", "first affected Linux release; may be empty"),
    text("UNTIL", "first Linux release no longer affected; may be empty"),
    texts("LINKS", "further documentation"),
    Column("EXIT_CODE", "exit code of an error", {"type": ["integer", "null"]}),
)
CAUSES = Listing("causes", CAUSE, ("CAUSE", "TITLE"))

_API = (text("NAME", "mount API"), text("WHY", "why it was chosen"))
_NOTES = texts("NOTES", "what else was done, in words")
_STACK = tuple(column for column in MOUNT if column.name != "NOTES")

MOUNTED = Listing(
    "mounts",
    (*MOUNT, one("API", "how it was mounted", _API)),
    (),
    (
        paths("MADE", "directories that were created"),
        _NOTES,
        objects("FINDINGS", "findings of the checks", FINDING),
    ),
)
DRY_RUN = Single(
    (
        *_STACK,
        one("API", "how it would be mounted", _API, nullable=True),
        path("OPTION_STRING", "option string for mount(2)", nullable=True),
        path("COMMAND", "the equivalent mount(8) command", nullable=True),
        paths("MAKE", "directories to create"),
        texts("STEPS", "steps, in order"),
        _NOTES,
        _VERDICT,
        objects("FINDINGS", "findings of the checks", FINDING),
    )
)
UNMOUNTED = Listing("unmounted", MOUNT, ())

_TARGET = path("TARGET", "where the aufs is mounted")
BRANCHES = Listing("branches", LAYER, ("INDEX", "PERMISSION", "PATH"), (_TARGET,), "PATH")
#: Output of the commands that change branches; with --dry-run also the remount options.
CHANGED = BRANCHES._replace(beside=(_TARGET, texts("REMOUNTS", "remount options", required=False)))

ERROR = Single(
    (
        one(
            "ERROR",
            "error document on standard error",
            (
                text("ID", "id of the error or of its cause"),
                text("MESSAGE", "what happened"),
                text("WHY", "why; may be empty"),
                text("HINT", "what helps; may be empty"),
                number("EXIT_CODE", "the exit code"),
                texts("COMMANDS", "commands to run", required=False),
                texts("DETAILS", "kernel messages, verbatim", required=False),
                objects("FINDINGS", "further findings of the checks", FINDING, required=False),
            ),
        ),
    )
)

FAULTS = Listing(
    "faults",
    (
        text("CAUSE", "id of the cause, stable for scripts"),
        choice("CLASS", "who decides on the repair", ("safe", "ask", "report"))._replace(
            style=lambda row: "yellow" if row["class"] == "safe" else "red"
        ),
        number("LAYER", "index of the layer; null for the work directory", nullable=True),
        path("PATH", "file or directory that is wrong"),
        text("EVIDENCE", "what was observed"),
        text("TITLE", "what it is"),
        choice("SEVERITY", "severity", _SEVERITIES)._replace(
            style=lambda row: _GRAVITY[row["severity"]]
        ),
    ),
    ("CLASS", "CAUSE", "PATH", "EVIDENCE"),
    _UNKNOWN,
    alone="PATH",
)

#: Output of the commands that work on layers.
STEPS = Listing(
    "steps",
    (
        choice(
            "STEP",
            "kind of step",
            (
                "remove",
                "move",
                "copy",
                "create",
                "mark",
                "unmark",
                "attributes",
                "times",
                "sync",
            ),
        ),
        path("PATH", "file or directory of a layer that it changes"),
        text("WHY", "why"),
    ),
    ("STEP", "PATH", "WHY"),
    alone="PATH",
)

_POINT = (
    path("TARGET", "the mount point"),
    text("HOW", "what the run has there"),
    text("WHY", "why; may be empty"),
    texts("FLAGS", "flags of its mount that are kept"),
)
POINTS = Single((objects("POINTS", "mount points of the run", _POINT),))
RUN = Single(
    (
        texts("COMMAND", "the command and its arguments"),
        number("EXIT_CODE", "exit code of the command"),
        choice("RESULT", "what became of the changes", ("applied", "kept", "dropped")),
        path("KEPT", "the directory that they are kept in", nullable=True),
        objects("NOT_LAYERED", "mount points that are not layered", _POINT),
        objects("CHANGES", "the changes, deletions first", CHANGES.columns[:7]),
        _NOTES,
    )
)
DROPPED = Single((path("DROPPED", "the directory that was removed"),))

_DIGESTS = (
    text("DIFF_ID", "digest of the archive before compression"),
    text("DIGEST", "digest of the archive"),
    text("COMPRESSION", "how it is compressed: gzip, zstd or none"),
    size("SIZE", "size of the archive in bytes"),
)

#: What pack wrote.
PACKED = Single(
    (
        path("PATH", "the archive; '-' for standard output"),
        *_DIGESTS,
        text("MEDIA_TYPE", "media type of a layer of an OCI image"),
        number("ENTRIES", "number of entries"),
        _NOTES,
    )
)

#: What unpack made.
UNPACKED = Single(
    (
        path("PATH", "the directory"),
        flag("IS_IMAGE", "whether it has the layers of an image, each in a directory of its own"),
        objects(
            "LAYERS",
            "the layers, the topmost first",
            (
                path("PATH", "the directory of the layer"),
                *_DIGESTS,
                number("ENTRIES", "number of entries"),
                _NOTES,
            ),
        ),
    )
)

#: The --json documents of every command; `error` is what any of them writes when it fails.
DOCUMENTS: dict[str, tuple[Listing | Single, ...]] = {
    "mount": (MOUNTED, DRY_RUN),
    "umount": (UNMOUNTED,),
    "list": (LIST, STACKS),
    "which": (WHICH,),
    "du": (USAGE, USAGES, LARGEST),
    "inspect mount": (MOUNTS, LAYERS),
    "inspect aufs": (AUFS,),
    "inspect merged": (ENTRIES, STORY, SUMMARY),
    "inspect whiteouts": (WHITEOUTS, WHITEOUT_SUMS),
    "inspect changes": (CHANGES, CHANGE_SUMS, CHANGE_STATS),
    "diff": (DIFFERENCES, CHANGE_SUMS, CHANGE_STATS),
    "branch list": (BRANCHES,),
    **{f"branch {word}": (CHANGED,) for word in ("add", "append", "prepend", "del", "mod")},
    "check": (FAULTS,),
    "restore": (STEPS,),
    "trim": (STEPS,),
    "commit": (STEPS,),
    "deref": (STEPS,),
    "run": (RUN, POINTS),
    "apply": (STEPS,),
    "drop": (DROPPED,),
    "convert": (STEPS,),
    "pack": (PACKED,),
    "unpack": (UNPACKED,),
    "doctor": (FINDINGS, CHECKS),
    "explain": (CAUSES, Single(CAUSE)),
    "error": (ERROR,),
}
