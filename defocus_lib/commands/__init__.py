"""The command line: one module per group of verbs.

Each command imports what it needs, so that the help appears at once.
"""

from __future__ import annotations

import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from defocus_lib.commands import book, bundle, cache, data, inspection, store, training
from defocus_lib.run.interrupts import CODE as INTERRUPTED
from defocus_lib.run.interrupts import is_verbose


class Verbs(TyperGroup):
    """The commands; Ctrl-C in any of them is told in one word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if is_verbose():
                traceback.print_exc()
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """Defocus blur as evidence of image manipulation."""


app.add_typer(data.app, name="data")
app.add_typer(store.app, name="store")
app.add_typer(cache.app, name="cache")
app.add_typer(bundle.app, name="bundle")
app.command("train")(training.train)
app.command("train-estimator")(training.train_estimator)
app.command("run", cls=book.NameAndValue)(book.run_notebook_alone)
app.command("inspect")(inspection.inspect_pictures)
app.command("plan")(book.plan_run)
