"""Convert a layer from the form of one filesystem to that of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from layerctl.errors import NotPermittedError, RequestError
from layerctl.kernel import layers
from layerctl.kernel.facts import common
from layerctl.kernel.paths import absolute
from layerctl.model import Layer, Role, Stack
from layerctl.rules.overlay import TRUSTED, USER
from layerctl.usecases.working import Steps, new_place
from layerctl.working.converting import copying, recognising, refusing, replacing
from layerctl.working.converting.forms import Form, Syntax
from layerctl.working.opening import taken


@contextmanager
def converting(
    directory: str, to: Form, given: Form | None, into: str | None, *, user: bool
) -> Iterator[Steps]:
    """Yield the steps that convert a layer, in place or `into` a new directory.

    `user` tells that overlay's markers are user.overlay.* attributes. Raises LayerctlError.
    """
    caller = common.caller()
    privileged = caller.sys_admin and not caller.in_user_namespace
    if not (privileged or user or caller.in_user_namespace):
        raise NotPermittedError(
            "markers-unreadable",
            "overlay's markers in the layer cannot be read",
            why="trusted.overlay.* attributes require CAP_SYS_ADMIN",
            hint="run the command as root, or use -o userxattr for a layer with user.overlay.*",
        )
    prefix = TRUSTED if privileged and not user else USER
    target = Syntax(to, prefix if to is Form.OVERLAY else "")
    path = absolute(directory)
    # To take it as a branch is to read no markers of it.
    stack = Stack("aufs", (Layer(path, Role.BRANCH, "rw"),))
    with ExitStack() as closing:
        place = None if into is None else new_place(into, closing)
        view = closing.enter_context(taken(stack, {0} if into is None else ()))
        root = view.resolver.roots[0]
        task = recognising.task(root, path, given, target, privileged=privileged)
        if task.source != task.target:
            refusing.demand(root, path, task)
        if place is None:
            yield replacing.steps(root, path, task)
        else:
            _demand_outside(root, place[0].fd, path)
            yield copying.steps(root, path, task, *place)


def _demand_outside(root: int, above: int, path: str) -> None:
    inside, whole = layers.real_path(above) + "/", layers.real_path(root).rstrip("/") + "/"
    if inside.startswith(whole):
        raise RequestError(
            "usage",
            f"the new layer would be inside {path}",
            why="it would contain itself",
            hint="name a directory elsewhere",
        )
