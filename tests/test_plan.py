"""Choosing the way in: pure, over what a kernel might take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerctl.codecs import aufs, overlay
from layerctl.errors import RefusedError
from layerctl.kernel.context import Features
from layerctl.model import Layer, Role, Stack
from layerctl.mounting.choose import choose
from layerctl.mounting.plan import fill, named, size
from layerctl.rules.limits import MAX_STRING, MAX_VALUE

OLD = Features()
APPEND = Features(context=True, append=True)
NEW = Features(context=True, append=True, by_descriptor=True)


def lowers(*paths: str) -> Stack:
    return Stack("overlay", tuple(Layer(path, Role.LOWER) for path in paths))


LONG = "/" + "d" * 250


def test_short_paths_go_one_by_one_where_the_kernel_takes_that() -> None:
    plan = choose(lowers("/a:b", "/c"), APPEND)
    assert plan.api == "fsconfig"
    assert [(s.key, s.value) for s in plan.parameters] == [
        ("lowerdir+", "/a:b"),
        ("lowerdir+", "/c"),
    ]
    assert named(plan) == ["/a:b", "/c"]
    assert choose(lowers("/a:b", "/c"), OLD).string == "lowerdir=/a\\:b:/c"


def test_what_was_checked_goes_by_descriptor_where_the_kernel_takes_that() -> None:
    plan = choose(lowers("/a:b", "/c"), NEW)
    assert (plan.api, named(plan)) == ("fd", [])
    assert [(s.value, s.path) for s in plan.parameters] == [(None, "/a:b"), (None, "/c")]


@pytest.mark.parametrize("features", [OLD, APPEND, NEW])
@pytest.mark.parametrize("swappable", ["/u\\", "/w"])
def test_what_is_written_to_is_not_named_where_it_could_be_swapped(
    features: Features, swappable: str
) -> None:
    stack = Stack("overlay", (Layer("/u\\", Role.UPPER), *lowers("/l").layers), "/w")
    plan = choose(stack, features, None, {swappable})
    assert swappable not in named(plan)
    if plan.api != "fsconfig":
        with pytest.raises(RefusedError) as caught:
            choose(stack, APPEND, "fsconfig", {swappable})
        assert caught.value.id == "swappable-directory"


@pytest.mark.parametrize(("features", "api"), [(OLD, "mount"), (APPEND, "fsconfig")])
@pytest.mark.parametrize("swappable", ["/h/u", "/h/w", "/h/l"])
def test_names_are_given_in_a_root_of_their_own_where_one_could_be_swapped(
    features: Features, api: str, swappable: str
) -> None:
    stack = Stack("overlay", (Layer("/h/u", Role.UPPER), *lowers("/h/l").layers), "/h/w")
    plan = choose(stack, features, None, {swappable}, apart=True)
    assert (plan.api, plan.apart, plan.opened, named(plan)) == (api, True, (), [])
    assert swappable in plan.why
    assert choose(stack, features, api, {swappable}, apart=True).apart
    assert not choose(stack, features, None, {"/m"}, apart=True).apart
    assert not choose(stack, NEW, None, {"/h/u"}, apart=True).apart


def test_a_path_over_255_bytes_goes_by_descriptor_else_in_one_string() -> None:
    stack = lowers(LONG + "/" + "x" * 10, "/c")
    by_fd = choose(stack, NEW)
    assert by_fd.api == "fd"
    assert [s.value for s in by_fd.parameters] == [None, None]
    assert choose(stack, APPEND).api == "mount"


def test_more_than_a_page_is_named_relative_then_by_descriptors() -> None:
    many = lowers(*(f"{LONG}/{n:03d}" for n in range(400)))
    plan = choose(many, OLD)
    assert plan.cwd == LONG
    assert plan.string.startswith("lowerdir=000:001:")
    apart = lowers(*(f"/{n:03d}/{'y' * 200}" for n in range(500)))
    plan = choose(apart, OLD)
    assert plan.cwd == "/proc/self/fd"
    filled = fill(plan.string, list(range(3, 503)))
    assert filled.startswith("lowerdir=3:4:5:")
    assert size(filled) <= MAX_STRING


def test_what_no_call_can_carry_is_refused() -> None:
    stack = Stack("overlay", lowers("/a", "/b").layers, None, {"context": "x" * (MAX_STRING + 1)})
    for features in (OLD, APPEND, NEW):
        with pytest.raises(RefusedError) as caught:
            choose(stack, features)
        assert caught.value.id == "option-string-too-long"
    with pytest.raises(RefusedError):
        choose(lowers("/a", "/b"), APPEND, "fd")


def test_aufs_goes_in_batches_of_64_and_a_page() -> None:
    stack = Stack("aufs", tuple(Layer(f"/b{n:03d}", Role.BRANCH) for n in range(127)))
    plan = choose(stack, NEW)
    assert plan.string.count(":") == 63
    assert [batch.count("append=") for batch in plan.appends] == [63]
    long = Stack("aufs", tuple(Layer(f"{LONG}{n:03d}", Role.BRANCH) for n in range(100)))
    plan = choose(long, NEW)
    assert all(size(part) <= MAX_STRING for part in (plan.string, *plan.appends))
    assert plan.opened == tuple(layer.path for layer in long.layers)
    words = plan.string.removeprefix("br=").split(":")
    for batch in plan.appends:
        words += [word.removeprefix("append=") for word in batch.split(",")]
    assert [fill(word, range(100)) for word in words] == [f"/proc/self/fd/{n}" for n in range(100)]


def test_aufs_reaches_a_path_it_cannot_take_by_a_descriptor() -> None:
    stack = Stack("aufs", (Layer("/a,b", Role.BRANCH, "rw"), Layer("/c=d:e", Role.BRANCH)))
    plan = choose(stack, OLD)
    assert plan.opened == ("/a,b", "/c=d:e")
    assert fill(plan.string, [7, 8]) == "br=/proc/self/fd/7=rw:/proc/self/fd/8"


NAMES = st.binary(min_size=1, max_size=300).map(
    lambda raw: (
        "/" + raw.replace(b"\0", b"0").replace(b"/", b"1").decode("utf-8", "surrogateescape")
    )
)


@given(
    st.lists(NAMES, min_size=2, max_size=40, unique=True),
    st.sampled_from([OLD, APPEND, NEW]),
    st.booleans(),
)
def test_no_plan_ever_holds_more_than_the_kernel_reads(
    paths: list[str], features: Features, upper: bool
) -> None:
    layers = [Layer(path, Role.LOWER) for path in paths]
    if upper:
        layers.insert(0, Layer("/upper" + paths[0], Role.UPPER))
    stack = Stack("overlay", tuple(layers), "/work" + paths[0] if upper else None)
    plan = choose(stack, features)
    assert size(fill(plan.string, [999] * len(plan.opened))) <= MAX_STRING
    assert all(
        s.value is None or size(fill(s.value, [999] * 99)) <= MAX_VALUE for s in plan.parameters
    )
    if plan.string and not plan.opened and plan.cwd is None:
        assert overlay.parse(plan.string).layers == stack.layers


@given(
    st.lists(
        NAMES.filter(lambda path: not set(path) & set(aufs.FORBIDDEN)),
        min_size=1,
        max_size=200,
        unique=True,
    )
)
def test_every_aufs_call_is_one_the_kernel_survives(paths: list[str]) -> None:
    stack = Stack("aufs", tuple(Layer(path, Role.BRANCH, "ro") for path in paths))
    plan = choose(stack, OLD)
    read = aufs.parse(plan.string)
    assert len(read.layers) <= 64
    for batch in plan.appends:
        assert batch.count(",") < 64
        assert size(batch) <= MAX_STRING
        read = aufs.parse(batch, base=read)
    assert [fill(one.path, range(200)) for one in read.layers] == [
        f"/proc/self/fd/{n}" for n in range(len(paths))
    ]
    assert plan.opened == tuple(paths)
    assert {one.permission for one in read.layers} == {"ro"}


UPPER = Stack("overlay", (Layer("/h/u", Role.UPPER), *lowers("/h/l", "/h/k").layers), "/h/w")


@pytest.mark.parametrize(
    ("features", "api", "expected"),
    [
        (OLD, None, "mount"), (APPEND, None, "fsconfig"), (NEW, None, "fd"),
        (OLD, "mount", "mount"), (APPEND, "mount", "mount"), (NEW, "mount", "mount"),
        (APPEND, "fsconfig", "fsconfig"), (NEW, "fsconfig", "fsconfig"), (NEW, "fd", "fd"),
        (OLD, "fsconfig", "lowerdir+ (since 6.7)"), (OLD, "fd", "as descriptors"),
        (APPEND, "fd", "as descriptors"),
    ],
)  # fmt: skip
def test_which_way_is_taken_or_can_be_asked_for(
    features: Features, api: str | None, expected: str
) -> None:
    if " " in expected:
        with pytest.raises(RefusedError) as caught:
            choose(UPPER, features, api)
        assert caught.value.id == "mount-api-call-limit"
        assert expected in caught.value.why
        return
    plan = choose(UPPER, features, api)
    assert (plan.api, plan.stack) == (expected, UPPER)
    assert plan.why.startswith("requested; ") == (api is not None)
    keys = [one.key for one in plan.parameters]
    assert keys == ([] if expected == "mount" else ["lowerdir+"] * 2 + ["upperdir", "workdir"])
    assert bool(plan.string) == (expected == "mount")


def test_aufs_has_one_way_in() -> None:
    stack = Stack("aufs", (Layer("/b", Role.BRANCH, "rw"),))
    assert choose(stack, NEW) == choose(stack, OLD, "mount")
    for api in ("fd", "fsconfig"):
        with pytest.raises(RefusedError) as caught:
            choose(stack, NEW, api)
        assert caught.value.id == "mount-api-call-limit"


def test_data_layers_need_a_kernel_that_has_them() -> None:
    stack = Stack("overlay", (Layer("/l", Role.LOWER), Layer("/d", Role.DATA)))
    for features in (APPEND, Features(context=True), Features(unknown="not asked")):
        assert choose(stack, features).stack == stack
    with pytest.raises(RefusedError) as caught:
        choose(stack, OLD)
    assert caught.value.id == "data-layers-unsupported-old-kernel"
    assert [one.key for one in choose(stack, APPEND).parameters] == [
        "lowerdir+",
        "datadir+",
    ]


@pytest.mark.parametrize(
    ("length", "by_string"),
    [(MAX_VALUE, True), (MAX_VALUE + 1, False)],
)
def test_a_value_of_just_255_bytes_is_a_string(length: int, by_string: bool) -> None:
    path = "/" + "x" * (length - 1)
    plan = choose(lowers(path, "/c"), APPEND)
    assert (plan.api == "fsconfig" and plan.cwd is None) == by_string
    option = Stack("overlay", lowers("/a", "/b").layers, None, {"context": "y" * length})
    assert choose(option, NEW).api == ("fd" if by_string else "mount")


@pytest.mark.parametrize(
    ("length", "whole"),
    [(MAX_STRING, True), (MAX_STRING + 1, False)],
)
def test_a_string_of_just_4095_bytes_is_given(length: int, whole: bool) -> None:
    value = "z" * (length - len("lowerdir=/h/a:/h/b,context="))
    stack = Stack("overlay", lowers("/h/a", "/h/b").layers, None, {"context": value})
    plan = choose(stack, OLD)
    assert (plan.cwd is None) == whole
    assert size(plan.string) == (MAX_STRING if whole else MAX_STRING + 1 - 2 * len("/h/"))


def test_an_upper_directory_with_a_backslash_is_shown_otherwise_by_descriptor() -> None:
    """mountinfo shows a descriptor's path as it is, and a string without its escapes."""
    layers = (Layer("/u\\x", Role.UPPER), Layer("/l\\x", Role.LOWER), Layer("/k", Role.LOWER))
    stack = Stack("overlay", layers, "/w\\x", {"index": "on", "userxattr": None})
    plan = choose(stack, NEW)
    given = {one.key + (one.path or ""): one.value for one in plan.parameters}
    assert given == {
        "lowerdir+/l\\x": None, "lowerdir+/k": None, "upperdir": "/u\\\\x", "workdir": "/w\\\\x",
        "index": "on", "userxattr": None,
    }  # fmt: skip
    strings = {one.key: one.value for one in choose(stack, APPEND).parameters}
    assert strings["upperdir"] == "/u\\\\x"
    swappable = choose(stack, NEW, None, {"/u\\x"})
    assert "/u\\x" in [one.path for one in swappable.parameters]
    deep = "/" + "\\" * 150  # doubled it is longer than a value
    long = Stack("overlay", (Layer(deep, Role.UPPER), Layer("/l", Role.LOWER)), "/w")
    assert [one.path for one in choose(long, NEW).parameters] == ["/l", deep, "/w"]


def test_long_names_go_relative_and_then_by_descriptors_one_by_one_too() -> None:
    many = lowers(*(f"{LONG}/more{number:03d}" for number in range(400)))
    plan = choose(many, APPEND)
    assert (plan.api, plan.cwd) == ("fsconfig", LONG)
    assert [one.value for one in plan.parameters[:2]] == ["more000", "more001"]
    assert plan.stack == many
    apart = lowers("/short", *(f"/{number:03d}/{'y' * 255}" for number in range(20)))
    plan = choose(apart, APPEND)
    assert (plan.api, plan.cwd) == ("fsconfig", None)
    assert plan.opened == tuple(layer.path for layer in apart.layers[1:])
    values = [fill(one.value or "", range(30, 50)) for one in plan.parameters]
    assert values == ["/short", *(f"/proc/self/fd/{number}" for number in range(30, 50))]
    for features in (OLD, APPEND):
        forced = choose(apart, features, "mount")
        assert (forced.api, forced.cwd) == ("mount", "/proc/self/fd")
        assert forced.opened == tuple(layer.path for layer in apart.layers)


def test_a_layer_that_is_the_parent_of_the_others_is_no_place_to_start_from() -> None:
    names = [f"{LONG}/{number:03d}" for number in range(30)]
    plan = choose(lowers(LONG, *names), OLD)
    assert plan.cwd == "/proc/self/fd"
    below = choose(lowers(f"/p{LONG}", *(f"/p{name}" for name in names)), OLD)
    assert below.cwd in ("/p", "/proc/self/fd")
    assert size(fill(below.string, [999] * len(below.opened))) <= MAX_STRING
    assert size("a\udcff\u00e4") == 4


def test_an_option_of_aufs_cannot_hold_a_comma() -> None:
    layers = (Layer("/b", Role.BRANCH, "rw"),)
    stack = Stack("aufs", layers, None, {"xino": "/x=y", "noplink": None})
    assert choose(stack, OLD).string.endswith("/x=y,noplink")
    with pytest.raises(RefusedError) as caught:
        choose(stack._replace(options={"xino": "/x,y"}), OLD)
    assert caught.value.id == "comma-in-path"
    long = Stack("aufs", tuple(Layer(f"/{number}", Role.BRANCH) for number in range(65)))
    assert [batch.count("append=") for batch in choose(long, OLD).appends] == [1]
    assert choose(long._replace(layers=long.layers[:64]), OLD).appends == ()
    full = stack._replace(options={"nosuch": "x" * MAX_STRING})
    with pytest.raises(RefusedError) as caught:
        choose(full, OLD)
    assert caught.value.id == "option-string-too-long"
