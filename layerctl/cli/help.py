"""Help that ends with examples. What only help needs is imported for it."""

from __future__ import annotations

from typing import Any

import click

from layerctl.errors import RequestError


class WithExamples(click.Command):
    """A command whose help ends with its examples, and whose parser is quick."""

    def make_parser(self, ctx: click.Context) -> Any:
        """Return the parser, short options among its long ones.

        click looks a short option up as a long one first, and finds the closest names of it (and
        translates an error) only to throw that away: 0.1 ms for each of 500 `-l`.
        """
        parser = super().make_parser(ctx)
        long, short = getattr(parser, "_long_opt", None), getattr(parser, "_short_opt", None)
        if isinstance(long, dict) and isinstance(short, dict):
            long.update(short)
        return parser

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, with headings and options in colour on a terminal."""
        from layerctl.render.human import coloured_help

        return coloured_help(super().get_help(ctx))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, but refuse a group without a command, as click does since 8.2."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            raise RequestError(
                "usage", "no command was given", commands=(f"{ctx.command_path} --help",)
            )
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        from layerctl.cli.examples import EXAMPLES

        examples = EXAMPLES.get(ctx.command_path.partition(" ")[2], ())
        if examples:
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"  # {example.what}\n  $ {example.line}\n")
