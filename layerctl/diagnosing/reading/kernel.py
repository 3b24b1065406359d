"""From the kernel's messages to causes: those of the table, refined by the context."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator

from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.messages import Kind, Match, search
from layerctl.diagnosing.reading.attempts import is_real
from layerctl.diagnosing.reading.context import Context
from layerctl.diagnosing.reading.events import short
from layerctl.diagnosing.reading.result import Noise
from layerctl.model import Severity
from layerctl.rules.limits import MAX_STRING
from layerctl.rules.options import Takes, find, is_flag
from layerctl.rules.validity import value_problem
from layerctl.rules.words import count

#: The weight of a message's first cause and of the others.
_STEPS: tuple[int, ...] = (92, 84, 76, 70, 64, 58, 52)
_WARNING_STEPS: tuple[int, ...] = (74, 66, 58, 52)
_NOISE = 24
#: Minimum literal text of a format to count in a line without the kernel's name.
_LITERAL = 20
#: printk's longest line, twice.
_MESSAGE = 2048

#: A remount with other options: the fix is not that of options that exclude each other.
_REMOUNT = {
    "No changes allowed in reconfigure": (
        "On a remount, overlay accepts only ro and rw. Remove the other options; they usually come "
        "from the fstab line, which mount(8) adds if only the target is given.",
        ("mount -o remount,rw SOURCE TARGET  # replace SOURCE, TARGET",),
    )
}

Refinement = Callable[[Match, Context], tuple[str, ...]]


def match_lines(context: Context) -> None:
    """Find the kernel's messages in every line; a repeated message is found once."""
    seen: set[str] = set()
    for line in context.lines:
        if line.text in seen:
            continue
        seen.add(line.text)
        if line.fs is not None:
            found = list(search(line.body[:_MESSAGE], line.fs, short=True))
        else:
            found = [
                one
                for one in search(short(line.text))
                if line.kernel or one.literal >= _LITERAL or one.message.fs == "any"
            ]
        context.matches += [(line, one) for one in found]


def clues(context: Context) -> Iterator[Clue]:
    """Yield the clues of the kernel's messages."""
    for line, match in context.matches:
        message = match.message
        causes = _refined(match, context)
        severity: Severity | None
        steps = _STEPS
        if message.kind is Kind.FAILURE:
            severity = None
        elif message.kind is Kind.WARNING:
            steps, severity = _WARNING_STEPS, Severity.WARNING
        else:
            steps, severity = (_NOISE, _NOISE - 4), Severity.INFO
        if _probe(match, context):
            yield Clue("benign-feature-probe", (line.text,), weight=82)
            severity, steps = Severity.WARNING, _WARNING_STEPS
        fix, commands = _REMOUNT.get(match.format, (None, None))
        for step, (cause, weight) in enumerate(zip(causes, steps, strict=False)):
            failed = message.kind is Kind.FAILURE and not step and severity is None
            yield Clue(
                cause,
                (line.text,),
                _values(match),
                Severity.FAILURE if failed else severity,
                fix,
                commands,
                weight,
            )


#: Messages of networks and devices while containers start, unrelated to layers.
_ELSEWHERE = re.compile(
    r"(?:IPv6: |ADDRCONF|Bridge firewalling|\bbr_netfilter|nf_conntrack|\w+: port \d+\(|"
    r"\beth\d+[: ]|\bveth\w+[: ]|\bdocker\d+[: ]|cfg80211|wlan\d|\busb \d|\binput: |"
    r"promiscuous mode|link becomes ready)"
)


def noise(context: Context) -> list[Noise]:
    """Return the harmless lines, each once."""
    found: dict[str, Noise] = {}
    matched = {id(line) for line, _ in context.matches}
    others = [
        line
        for line in context.lines
        if line.kernel and line.fs is None and id(line) not in matched
        if _ELSEWHERE.search(line.text)
    ]
    if others:
        more = f" (and {count(len(others) - 1, 'similar line')})" if len(others) > 1 else ""
        found[""] = Noise(others[0].text, f"networks and devices{more}, unrelated to layers")
    for line, match in context.matches:
        if match.message.kind is Kind.NOISE:
            key = line.body or line.text
            found.setdefault(key, Noise(line.text, match.message.meaning))
    return list(found.values())


def _values(match: Match) -> dict[str, str]:
    first = next((value for value in match.values if value.startswith("/")), None)
    return {"path": first} if first is not None and is_real(first) else {}


#: Options that engines probe at start-up.
_TRIED_OPTIONS = frozenset({"volatile", "userxattr"})


def _probe(match: Match, context: Context) -> bool:
    """Tell whether a message is from an engine's probe, if nothing else fails.

    containerd and podman probe idmapped layers, podman probes volatile; failures are logged.
    """
    if context.complains or context.tried:
        return False
    text = match.format
    if text.startswith("idmapped"):
        return True
    return "unrecognized mount option" in text and match.values[0] in _TRIED_OPTIONS


def _refined(match: Match, context: Context) -> tuple[str, ...]:
    for start, refine in _REFINEMENTS.items():
        if match.format.startswith(start):
            return refine(match, context)
    return match.message.causes


def _first(causes: tuple[str, ...], *better: str) -> tuple[str, ...]:
    """Return causes with some moved to the front."""
    return tuple(dict.fromkeys((*better, *causes)))


def _resolve(match: Match, context: Context) -> tuple[str, ...]:
    """Order the reasons for a path that leads nowhere."""
    path, number = match.values[0], match.values[1].lstrip("-")
    causes = match.message.causes
    if number in ("13", "1", "40", "36", "116", "107", "5"):
        return ("layer-not-reachable", "missing-layer-directory")
    if number == "12":
        return ("not-enough-memory",)
    better = ["missing-layer-directory"]
    if context.booting or path.startswith(("/sysroot/", "/run/initramfs")):
        better.insert(0, "mount-ordering-lower-not-mounted")
    if re.search(r"/overlay2?/l/[A-Z0-9]{26}$|^l/[A-Z0-9]{26}$", path):
        better.insert(0, "layer-link-missing-after-crash")
    for attempt in context.tried:
        layers = [] if attempt.stack is None else [one.path for one in attempt.stack.layers]
        long = len(os.fsencode(attempt.options)) >= MAX_STRING
        longer = [one for one in layers if one != path and one.startswith(path)]
        if path not in layers and longer and long:
            better.insert(0, "option-string-too-long")
        elif f"{path}:" in attempt.options and _odd_neighbour(path, layers):
            better.insert(0, "colon-in-path")
        elif f"{path}," in attempt.options and attempt.stack and _odd_option(attempt.stack.options):
            better.insert(0, "comma-in-path")
        elif "\\" in attempt.options and f"{path}" not in attempt.options:
            better.append("malformed-option-string")
    return _first(causes, *better)


def _odd_neighbour(path: str, layers: list[str]) -> bool:
    """Tell whether a list has absolute and relative names, as if a name was split at its colon."""
    return path.startswith("/") and any("/" not in other[:1] for other in layers if other != path)


def _odd_option(options: object) -> bool:
    names = list(options) if isinstance(options, dict) else []
    return any(find("overlay", name) is None for name in names)


def _upper(match: Match, context: Context) -> tuple[str, ...]:
    """Order the filesystems that are refused for the upper layer.

    Since 5.7 only an overlay gets this message; before, every remote filesystem did. The quotes
    around the path went with 6.5.
    """
    causes = match.message.causes
    known = [f"upperdir-fs-unsupported-{family}" for family in context.families]
    known = [cause for cause in known if cause in causes]
    modern = "'" not in match.format or (context.kernel is not None and context.kernel >= (5, 7))
    if modern:
        return ("upperdir-fs-unsupported-overlay",)
    if context.kernel is not None and not known:
        return causes
    return _first(causes, *known)


def _features(_: Match, context: Context) -> tuple[str, ...]:
    """Find out from the lines before which filesystem lacks the features.

    NFS and most FUSE filesystems have neither tmpfile nor RENAME_WHITEOUT nor trusted attributes;
    ecryptfs has attributes; ZFS before 2.2 lacks only RENAME_WHITEOUT. If the text names none of
    them, only the missing feature is certain.
    """
    said = {one.format for _, one in context.matches}
    whiteout = any("RENAME_WHITEOUT" in one for one in said)
    tmpfile = any("support tmpfile" in one for one in said)
    xattr = any("set xattr" in one or "support xattr" in one for one in said)
    name = "upperdir-fs-unsupported-"
    order: tuple[str, ...]
    if xattr and (whiteout or tmpfile):
        order = ("nfs", "fuse", "virtiofs")
    elif tmpfile:
        order = ("fuse", "ecryptfs", "virtiofs", "nfs")
    elif whiteout:
        order = ("zfs", "fuse", "virtiofs", "nfs")
    elif xattr:
        order = ("virtiofs", "fuse", "nfs")
    else:
        order = ("nfs", "fuse", "virtiofs", "zfs", "ecryptfs")
    known = [
        one for one in context.families if one in ("nfs", "fuse", "virtiofs", "zfs", "ecryptfs")
    ]
    causes = [name + one for one in dict.fromkeys((*known, *order))]
    if xattr:
        causes.insert(1 if whiteout or tmpfile else 0, "upper-fs-no-xattr")
    if not known and xattr and whiteout and tmpfile:  # NFS has none of the three
        return (name + "nfs", "upper-missing-required-features", name + "fuse", "upper-fs-no-xattr")
    if known:
        return (*causes[:4], "upper-missing-required-features")
    return ("upper-missing-required-features", *causes[:4])


def _xattr(match: Match, context: Context) -> tuple[str, ...]:
    """A refused attribute: by the user namespace, or by the filesystem."""
    causes = match.message.causes
    said = {one.format for _, one in context.matches}
    advised = any("userxattr" in one for one in said) or context.in_user_namespace
    if any("missing required features" in one for one in said):
        return ("upper-fs-no-xattr",)
    if any("userxattr" in attempt.options for attempt in context.tried):
        return ("tmpfs-upper-xattr-unsupported", "upper-fs-no-xattr")
    if advised:
        return _first(causes, "userns-needs-userxattr")
    return _first(causes, "upper-fs-no-xattr", "tmpfs-upper-xattr-unsupported")


def _advice(match: Match, context: Context) -> tuple[str, ...]:
    """The kernel suggests userxattr after any refused attribute, whatever the reason."""
    if any("missing required features" in one.format for _, one in context.matches):
        return ()
    return match.message.causes


def _in_use(match: Match, _: Context) -> tuple[str, ...]:
    """Which layer is in use: a lower one, or the upper or work directory."""
    if match.values and match.values[0].startswith("lowerdir"):
        return ("lowerdir-in-use-as-upper", "upperdir-in-use-index-on")
    return ("upperdir-in-use-index-on", "lowerdir-in-use-as-upper")


def _unknown(match: Match, context: Context) -> tuple[str, ...]:
    """An unknown option: too new, of another type, a part of a path, or without a value."""
    word = match.values[0]
    name, equals, value = word.partition("=")
    causes = match.message.causes
    if name.startswith(("br:", "add:", "append:", "prepend:", "del:", "mod:")):
        return ("aufs-br-colon-new-mount-api", "aufs-br-syntax")
    if name.startswith("dirs:"):
        return ("aufs-br-syntax",)
    if name in ("context", "fscontext", "defcontext", "rootcontext"):
        return _first(causes, "unknown-mount-option-old-kernel", "context-option-comma-split")
    if re.match(r"(?:s\d+|c\d+)(?:[.:,\"]|$)", word):
        return _first(causes, "context-option-comma-split")
    if re.search(r"\\x[0-9a-f]{2}|[^\x20-\x7e]", name) and not _after_path(word, context):
        return _first(causes, "malformed-option-string")  # memory that is not a string
    option = find(context.fstype, name)
    if option is None and find("overlay", name) is not None:
        return ("unknown-mount-option-old-kernel",)
    if option is not None and (option.takes is not Takes.LAYERS or value):
        whole = match.format.startswith("unrecognized")  # the newer calls name only the key
        if whole and value_problem(option, value if equals else None):
            return ("bad-option-value", "unknown-mount-option-old-kernel")
        return ("unknown-mount-option-old-kernel",)
    if option is not None:
        return ("bad-option-value", "too-few-layers")
    if not re.fullmatch(r"[a-z_]+(=[\w.-]*)?", word) and _after_path(word, context):
        return _first(causes, "comma-in-path")
    if is_flag(name):
        return ("unknown-mount-option-old-kernel",)
    return tuple(one for one in causes if one != "bad-option-value")


def _after_path(word: str, context: Context) -> bool:
    """Tell whether an unknown word directly follows a path in the options of an attempt."""
    for attempt in context.tried:
        words = attempt.options.split(",")
        for before, here in itertools.pairwise(words):
            if here == word and re.match(r"(?:lowerdir|upperdir|workdir)\+?=", before):
                return True
    return False


def _workdir(match: Match, _: Context) -> tuple[str, ...]:
    """Why the work directory could not be used, by the errno."""
    number = match.values[-1].lstrip("-") if match.values else ""
    by_number = {
        "28": ("upper-enospc", "workdir-not-writable-mounted-ro"),
        "122": ("upper-enospc", "workdir-not-writable-mounted-ro"),
        "17": ("workdir-not-empty", "workdir-not-writable-mounted-ro"),
        "39": ("workdir-not-empty", "workdir-not-writable-mounted-ro"),
        "75": ("idmap-owner-unmapped", "workdir-not-writable-mounted-ro"),
        "30": ("upper-readonly", "workdir-not-writable-mounted-ro"),
        "13": ("workdir-not-writable-mounted-ro", "selinux-denied"),
    }
    return by_number.get(number, match.message.causes)


def _bad_value(match: Match, _: Context) -> tuple[str, ...]:
    """A layer option whose kind of value is refused: a descriptor, on an older kernel."""
    if match.values[0] in ("lowerdir+", "datadir+", "upperdir", "workdir"):
        return ("layers-by-descriptor-unsupported", "bad-option-value")
    return match.message.causes


def _looked_up(match: Match, _: Context) -> tuple[str, ...]:
    """A failed lookup: EIO and similar errors come from the disk, not from a change."""
    numbers = {value.lstrip("-") for value in match.values}
    if numbers & {"5", "74", "117", "61"}:
        return ("io-error-below", "layer-modified-while-mounted")
    return match.message.causes


def _aufs_open(match: Match, _: Context) -> tuple[str, ...]:
    if match.values[-1].lstrip("-") == "2":
        return ("aufs-xino-directory-missing",)
    if match.values[-1].lstrip("-") == "30":
        return ("aufs-branch-readonly-fs", "aufs-xino-fs-unsupported")
    return ("aufs-xino-exists",)


def _aufs_lookup(match: Match, _: Context) -> tuple[str, ...]:
    if match.values[-1].lstrip("-") == "20":
        return ("layer-not-a-directory",)
    return ("missing-layer-directory",)


def _aufs_index(_: Match, context: Context) -> tuple[str, ...]:
    """'bad index' follows another error; alone it means a position that does not exist."""
    if len([1 for _, one in context.matches if one.message.kind is Kind.FAILURE]) > 1:
        return ()
    return ("aufs-br-syntax",)


_REFINEMENTS: dict[str, Refinement] = {
    "failed to resolve": _resolve,
    "filesystem on '%s' not supported as upperdir": _upper,
    "filesystem on %s not supported as upperdir": _upper,
    "upper fs missing required": _features,
    "failed to set xattr": _xattr,
    "try mounting with 'userxattr'": _advice,
    "upper fs does not support RENAME_WHITEOUT": _advice,
    "%s is in-use as upperdir/workdir of another mount, mount": _in_use,
    "%s is in-use by another mount, mount": _in_use,
    "unrecognized mount option": _unknown,
    "Unknown parameter": _unknown,
    "failed to create directory": _workdir,
    "failed lookup in": _looked_up,
    "Bad value for": _bad_value,
    "open %s(%ld)": _aufs_open,
    "lookup failed %s": _aufs_lookup,
    "bad index": _aufs_index,
}
