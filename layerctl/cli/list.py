"""`layerctl list`."""

from __future__ import annotations

import click

from layerctl.cli.common import json_option
from layerctl.kernel import mounts
from layerctl.render import json
from layerctl.render.mounts import mounted_document, print_mounts


@click.command("list")
@json_option
def command(*, as_json: bool) -> None:
    """List every overlay and aufs mount that this process can see."""
    found = mounts.layered()
    if as_json:
        json.write({"mounts": [mounted_document(mounted) for mounted in found]})
    elif found:
        print_mounts(found)
    else:
        from layerctl.render.errors import note

        note("no overlay or aufs is mounted here (other mount namespaces are not looked at)")
