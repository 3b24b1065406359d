"""Every codec undoes itself, for any name that the kernel could hold; and the kernel agrees."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerctl.codecs import aufs, escape, mountinfo, overlay
from layerctl.codecs.request import Request, build
from layerctl.codecs.words import split_options
from layerctl.errors import RequestError
from layerctl.kernel import mounts, syscalls
from layerctl.model import Layer, MountEntry, Role, Stack
from layerctl.render.json import path_fields
from layerctl.rules.aufs import ATTRIBUTES, with_permissions
from layerctl.rules.branches import same_path

#: Any bytes that a path can have, decoded; unusual ones are frequent.
_nasty = st.lists(st.sampled_from([*b"\\:,=\" '\t\n#", 0x80, 0xFF, *b"ab0"]), min_size=1)
_any_bytes = st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"\0", b"/"))
names = st.one_of(_nasty.map(bytes), _any_bytes).map(os.fsdecode)
absolute = names.map(lambda name: "/" + name)
aufs_names = names.map(
    lambda name: "/" + "".join(char for char in name if char not in aufs.FORBIDDEN)
)


@given(names)
def test_octal(name: str) -> None:
    written = escape.octal_encode(name)
    assert not set(written) & set(" \t\n")
    assert escape.octal_decode(written) == name


@given(names, st.sampled_from(["\\,", "\\:,", "\\:"]))
def test_backslashes(name: str, characters: str) -> None:
    escaped = escape.backslash_escape(name, characters)
    assert escape.backslash_unescape(escaped) == name
    for separator in characters[1:]:
        assert escape.split_unescaped(escaped, separator) == [escaped]


@given(st.lists(names, min_size=1, max_size=5))
def test_splitting_at_unescaped_separators(parts: list[str]) -> None:
    written = ":".join(escape.backslash_escape(part, "\\:") for part in parts)
    split = escape.split_unescaped(written, ":")
    assert [escape.backslash_unescape(part) for part in split] == parts


@given(names)
def test_printable_text_harms_no_terminal_and_tells_names_apart(name: str) -> None:
    shown = escape.printable(name)
    assert shown.isprintable()
    shown.encode("utf-8")  # no surrogate is left
    assert (shown == name) == (name.isprintable() and escape.is_text(name))


@given(names)
def test_json_keeps_the_bytes(name: str) -> None:
    fields = path_fields("path", name)
    assert fields["path"].encode("utf-8").decode("utf-8") == fields["path"]
    raw = fields.get("path_bytes")
    assert (base64.b64decode(raw) if raw else fields["path"].encode()) == os.fsencode(name)


@st.composite
def overlays(draw: st.DrawFn) -> Stack:
    upper = draw(st.none() | absolute)
    top = [] if upper is None else [Layer(upper, Role.UPPER)]
    lowers = draw(st.lists(absolute, min_size=1, max_size=4))
    data = draw(st.lists(absolute, max_size=2))
    layers = [*(Layer(x, Role.LOWER) for x in lowers), *(Layer(x, Role.DATA) for x in data)]
    options: dict[str, str | None] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "redirect_dir": st.sampled_from(["on", "off", "follow", "nofollow"]),
                "userxattr": st.none(),
                "context": st.just("user_u:object_r:container_file_t:s0:c1,c2"),
            },
        )
    )
    return Stack("overlay", (*top, *layers), None if upper is None else draw(absolute), options)


@given(overlays())
def test_an_overlay_option_string(stack: Stack) -> None:
    assert overlay.parse(overlay.encode(stack)) == stack


@given(overlays())
def test_flags_and_options_build_the_same_overlay(stack: Stack) -> None:
    words = {name: value for name, value in stack.options.items() if name != "context"}
    flags = Request(
        lowers=tuple(x.path for x in stack.of_role(Role.LOWER)),
        data=tuple(x.path for x in stack.of_role(Role.DATA)),
        upper=stack.upper,
        work=stack.work,
        options=tuple(k if v is None else f"{k}={v}" for k, v in words.items()),
    )
    whole = Request(options=(overlay.encode(Stack("overlay", stack.layers, stack.work, words)),))
    assert build(flags) == build(whole)


@given(overlays(), st.booleans())
def test_mountinfo_shows_an_overlay_in_either_notation(stack: Stack, literal: bool) -> None:
    """`lowerdir=` is shown as it was given, backslashes and all; `lowerdir+=` is literal."""
    keys = {Role.LOWER: "lowerdir+", Role.DATA: "datadir+"}
    others = [x for x in stack.layers if x.role is not Role.UPPER]
    if literal:
        words = [f"{keys[x.role]}={escape.octal_encode(x.path, _SHOWN)}" for x in others]
    else:
        words = ["lowerdir=" + escape.octal_encode(overlay.join_lowerdir(others), _SHOWN)]
    for key, path in (("upperdir", stack.upper), ("workdir", stack.work)):
        if path is not None:
            words.append(f"{key}={escape.octal_encode(overlay.escape_path(path), _SHOWN)}")
    shown = overlay.from_super_options(",".join(["rw", *words]))
    assert (shown.layers, shown.work) == (stack.layers, stack.work)


_SHOWN = ", \t\n\\"


@pytest.mark.parametrize(
    "text", [":/a", "/a:", "/a:::/b", "/a::/b:/c", "/a:::", "::/a", "/a\\::/b::"]
)
def test_colons_that_make_no_list_of_layers(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        overlay.parse(f"lowerdir={text}")
    assert caught.value.id == "malformed-option-string"


@st.composite
def aufs_stacks(draw: st.DrawFn) -> Stack:
    permissions = st.sampled_from(sorted(ATTRIBUTES)).flatmap(
        lambda base: st.lists(st.sampled_from(ATTRIBUTES[base]), max_size=2, unique=True).map(
            lambda attributes: "+".join([base, *attributes])
        )
    )
    branches = draw(st.lists(st.tuples(aufs_names, st.none() | permissions), min_size=1))
    layers = tuple(Layer(path, Role.BRANCH, permission) for path, permission in branches)
    options: dict[str, str | None] = draw(
        st.fixed_dictionaries({}, optional={"udba": st.just("none"), "noxino": st.none()})
    )
    return Stack("aufs", layers, None, options)


@given(aufs_stacks(), st.sampled_from(["br=", "br:", "dirs="]))
def test_an_aufs_option_string(stack: Stack, spelling: str) -> None:
    text = aufs.encode(stack)
    assert aufs.parse(text.replace("br=", spelling, 1)) == stack


@given(aufs_stacks())
def test_flags_and_options_build_the_same_aufs(stack: Stack) -> None:
    words = tuple(k if v is None else f"{k}={v}" for k, v in stack.options.items())
    branches = tuple(map(aufs.branch_word, stack.layers))
    assert build(Request(branches=branches, options=words)) == stack
    assert build(Request(options=(aufs.encode(stack),))) == stack


@given(aufs_stacks(), st.data())
def test_branch_changes_in_order(stack: Stack, data: st.DataObject) -> None:
    """What is added is there; adding and removing leaves the stack as it was."""
    full = with_permissions(stack)
    place = data.draw(st.integers(0, len(full.layers)))
    added = aufs.parse(f"add={place}:/a new one=ro+wh", base=full)
    assert added.layers[place] == Layer("/a new one", Role.BRANCH, "ro+wh")
    if all(not same_path(x.path, "/a new one") for x in full.layers):
        assert aufs.parse("del=/a new one/.", base=added) == full


_REFUSED = "refused"
#: What aufs 6.1 made of option strings, as its sysfs showed it; `ro` behind a string marks a
#: read-only mount. All refusals are its own, not those of a missing xino.
_MADE = (
    ("br=a:b,append=c", "a=rw b=ro c=ro"),
    ("br=a:b,append=c=rw", "a=rw b=ro c=rw"),
    ("br=a:b,append=x:y", "a=rw b=ro x:y=ro"),
    ("append=a=rw,append=b", "a=rw b=ro"),
    ("prepend=a,prepend=b", "b=rw a=rw"),
    ("prepend=a,br=b:c", "b=rw c=ro a=rw"),
    ("append=a,br=b:c", "b=rw c=ro a=ro"),
    ("br=a,append=c,br=b", "a=rw b=ro c=ro"),
    ("br=a,prepend=c,br=b", "c=rw b=ro a=rw"),
    ("add=0:a,add=1:b", "a=rw b=ro"),
    ("add=0:a,add=0:b", "b=rw a=rw"),
    ("br=a:b,add=1:c", "a=rw c=ro b=ro"),
    ("br=a:b,add=0x1:c", "a=rw c=ro b=ro"),
    ("br=a:b,add=+1:c", "a=rw c=ro b=ro"),
    ("br=a:b,add=2:c", "a=rw b=ro c=ro"),
    ("br=a:b,ins=1:c=rw", "a=rw c=rw b=ro"),
    ("br=a:b,add=1:x:y", "a=rw x:y=ro b=ro"),
    ("br=a:b,mod=b=rw", "a=rw b=rw"),
    ("br=a:b,mod=b=ro+wh", "a=rw b=ro+wh"),
    ("br=a:b,mod=b=", "a=rw b=ro"),
    ("br=a:b,del=b", "a=rw"),
    ("br=a:b:c,del=b,append=b=rw", "a=rw c=ro b=rw"),
    ("br=a:b,append=c=", "a=rw b=ro c=ro"),
    ("br=a:b,prepend:c", "c=rw a=rw b=ro"),
    ("br:a:b,append:c", "a=rw b=ro c=ro"),
    ("br=a:,append=b", "a=rw b=ro"),
    ("br=a=rw:b=rw,prepend=c=ro", "c=ro a=rw b=rw"),
    ("br=a=rw:b,prepend=c ro", "c=ro a=rw b=ro"),
    ("br=a=rw,append=b,add=0:c ro", "c=ro a=rw b=ro"),
    ("add=1:a,br=b", _REFUSED),
    ("add=1:b,add=0:a", _REFUSED),
    ("br=a:b,add=-1:c", _REFUSED),
    ("br=a:b,add=3:c", _REFUSED),
    ("br=a:b,add=c", _REFUSED),
    ("br=a:b,add=1", _REFUSED),
    ("br=a:b,mod=b", _REFUSED),
    ("br=a:b,mod=c=rw", _REFUSED),
    ("mod=a=rw,br=a", _REFUSED),
    ("br=a:b,del=c", _REFUSED),
    ("br=a:b,del=b=ro", _REFUSED),
    ("del=a,br=a:b", _REFUSED),
    ("br=a:b:c,del=b,br=d", _REFUSED),
    ("br=a:b,append=", _REFUSED),
)


@pytest.mark.parametrize(("text", "made"), _MADE)
def test_branches_become_what_aufs_makes_of_them(text: str, made: str) -> None:
    options, _, flag = text.partition(" ")
    request = Request("aufs", options=(options,), read_only=bool(flag))
    if made == _REFUSED:
        with pytest.raises(RequestError):
            build(request)
        return
    layers = with_permissions(build(request)).layers
    assert " ".join(f"{layer.path}={layer.permission}" for layer in layers) == made
    words = tuple(options.split(","))
    assert with_permissions(build(request._replace(options=words))).layers == layers


@pytest.mark.parametrize(
    ("word", "taken"),
    [
        ("dirwh=-1", True), ("dirwh=0x10", True), ("dirwh=010", True), ("dirwh=5", True),
        ("dirwh=-99999999999", False), ("dirwh=8 ", False), ("dirwh=x", False),
        ("rdcache=-1", True), ("rdcache=0x5", True), ("rdcache=4000", False),
        ("rdblk=def", True), ("rdblk=0", True), ("rdblk=0x1000", True), ("rdblk=100", False),
        ("rdblk=-1", False), ("rdhash=0", True), ("rdhash=-1", False),
        ("fhsm_sec=3", True), ("fhsm_sec=-1", False),
        ("create=mfs:0x10", True), ("create=mfs:-1", False), ("create=mfs:99999999", False),
        ("create=mfs:1:2", False), ("create=mfsrr:0x10:5", True), ("create=mfsrr:5", True),
        ("create=mfsrr", False), ("create=tdmfs", False), ("create=tdmfs:9", True),
        ("create=most-free-space:6", True), ("create=mfsrr:1:2:3", False),
    ],
)  # fmt: skip
def test_numbers_are_read_as_aufs_reads_them(word: str, taken: bool) -> None:
    from layerctl.rules.validity import problems

    stack = build(Request("aufs", options=(f"br=a:b,{word}",)))
    assert (not problems(stack)) is taken


@pytest.mark.parametrize("character", list(aufs.FORBIDDEN))
def test_what_no_aufs_branch_can_hold_is_no_option_string(character: str) -> None:
    with pytest.raises(ValueError, match="a"):
        aufs.encode(Stack("aufs", (Layer(f"/a{character}b", Role.BRANCH),)))


@given(absolute, absolute, names.filter(lambda name: " " not in name))
def test_mountinfo_lines(root: str, target: str, source: str) -> None:
    octal = escape.octal_encode
    line = (
        f"36 35 98:0 {octal(root)} {octal(target)} rw,noatime master:1 shared:7 - "
        f"overlay {octal(source)} rw,lowerdir=/a:/b\n"
    )
    assert mountinfo.parse_line(line) == MountEntry(
        36, 35, "98:0", root, target, ("rw", "noatime"), "overlay", source, "rw,lowerdir=/a:/b"
    )


@pytest.mark.parametrize("line", ["", "1 2 3", "36 35 98:0 / /m rw - overlay", "x"])
def test_what_is_no_mountinfo_line(line: str) -> None:
    with pytest.raises(ValueError, match="mountinfo"):
        mountinfo.parse_line(line)


@given(st.lists(names.map(lambda name: "o=" + escape.backslash_escape(name, "\\,")), max_size=4))
def test_words_come_back_whole(words: list[str]) -> None:
    assert split_options(",".join(words), escapes=True) == words


def test_the_commas_of_a_security_context_are_inside_quotes() -> None:
    text = 'lowerdir=/a,context="system_u:object_r:t:s0:c1,c2",ro'
    stack = overlay.parse(text)
    assert stack.options == {"context": "system_u:object_r:t:s0:c1,c2"}
    assert stack.flags == ("ro",)
    with pytest.raises(RequestError) as caught:
        overlay.parse('lowerdir=/a,context="open,ro')
    assert caught.value.id == "malformed-option-string"


def _mountable(name: str) -> str:
    """Return a name of one directory made of the letters of any other."""
    short = os.fsdecode(os.fsencode(name.replace("/", "_"))[:60])
    return short + "_" if set(short) == {"."} else short


@pytest.mark.namespace
def test_the_kernel_reads_an_overlay_string_as_it_was_written(lab: Path) -> None:
    """The kernel as judge: it mounts just the directories that were named, and shows them so."""
    os.mkdir("m")

    @settings(max_examples=150, deadline=None, database=None)
    @given(
        st.lists(names.map(_mountable), min_size=1, max_size=3, unique=True), names.map(_mountable)
    )
    def kernel_agrees(lowers: list[str], upper: str) -> None:
        for number, name in enumerate(lowers):
            os.makedirs(f"l/{name}", exist_ok=True)
            Path("l", name, f"in-{number}").touch()
        os.makedirs(f"u/{upper}", exist_ok=True)
        os.makedirs(f"w/{upper}", exist_ok=True)
        layers = (
            Layer(f"{lab}/u/{upper}", Role.UPPER),
            *(Layer(f"{lab}/l/{name}", Role.LOWER) for name in lowers),
        )
        stack = Stack("overlay", layers, f"{lab}/w/{upper}")
        syscalls.mount("o", "m", "overlay", 0, overlay.encode(stack))
        try:
            assert sorted(os.listdir("m")) == [f"in-{number}" for number in range(len(lowers))]
            shown = mounts.find_layered("m").stack
            assert (shown.layers, shown.work) == (stack.layers, stack.work)
        finally:
            syscalls.umount2("m", 0)
            for number, name in enumerate(lowers):
                Path("l", name, f"in-{number}").unlink()

    kernel_agrees()
