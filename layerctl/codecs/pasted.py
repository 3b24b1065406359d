"""Option strings as other programs show them: with octal escapes, or as JSON of an engine. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from layerctl.codecs.escape import backslash_escape, octal_decode
from layerctl.errors import RequestError

#: What /proc/mounts and fstab(5) escape, and findmnt(8) for control characters; in an overlay's own
#: options a backslash before these would mean nothing.
_ESCAPED = re.compile(r"\\(?:(\\)|011|012|040|043|054|072|075|134|x([01][0-9a-f]|7f))")
#: The layers in `docker inspect` and `podman inspect`, below GraphDriver.Data.
_KEYS = {"LowerDir": "lowerdir", "UpperDir": "upperdir", "WorkDir": "workdir"}


def plain(text: str) -> str:
    """Return the option string that is meant. Raises RequestError for JSON without layers."""
    if text.lstrip().startswith(("{", "[")):
        return _of_json(text)
    return _ESCAPED.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    if found[1]:
        return found[0]
    return chr(int(found[2], 16)) if found[2] else octal_decode(found[0])


def _of_json(text: str) -> str:
    try:
        layers = _layers(json.loads(text))
    except (ValueError, RecursionError):
        layers = None
    if layers is None:
        raise RequestError(
            "malformed-option-string",
            "no layers were found in the JSON of -o",
            why="it is expected to have LowerDir, as GraphDriver.Data of docker inspect has",
            commands=("docker inspect -f '{{json .GraphDriver.Data}}' NAME",),
        )
    found = ((_KEYS[key], layers.get(key)) for key in _KEYS)
    return ",".join(
        f"{name}={backslash_escape(value, chr(92) + ',')}"
        for name, value in found
        if isinstance(value, str) and value
    )


def _layers(value: Any) -> dict[str, Any] | None:
    """Return the first object that names a lower directory."""
    if isinstance(value, dict):
        if isinstance(value.get("LowerDir"), str):
            return value
        value = list(value.values())
    if isinstance(value, list):
        return next(filter(None, map(_layers, value)), None)
    return None
