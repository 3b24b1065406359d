"""Help that ends with examples, which are imported only for that."""

from __future__ import annotations

import click


class WithExamples(click.Command):
    """A command whose help ends with its examples."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        from layerctl.cli.examples import EXAMPLES

        examples = EXAMPLES.get(ctx.command_path.partition(" ")[2], ())
        if examples:
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"  # {example.what}\n  $ {example.line}\n")
