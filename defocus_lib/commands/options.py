"""What several commands share: options, exit codes, and how errors are told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, get_args, get_type_hints

import typer

PROBLEMS, USAGE = 1, 2  # exit codes, beside that of an interrupt


# Where the option is not called like the field.
OPTION_NAMES = {"reads": ["--input"], "n_threads": ["--threads", "--n-threads"]}


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name of the data set in the manifest.", show_default=False
    ),
]


ManifestPath = Annotated[
    Path | None, typer.Option("--manifest", help="Another file than data_manifest.yaml.")
]


Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")
]


Workers = Annotated[
    int,
    typer.Option("--threads", "--n-workers", help="That read images; -1 takes every core."),
]


Threads = Annotated[int, typer.Option("--threads", min=0, help="That compute; 0 takes every core.")]


def is_watched() -> bool:
    """Whether progress is drawn: a file gets no bars."""
    return sys.stderr.isatty()


@contextmanager
def one_line_errors(unreadable: int = PROBLEMS) -> Iterator[None]:
    """End the program with one line, without a traceback, for an error that a user can correct."""
    try:
        yield
    except (ValueError, KeyError, OSError) as error:
        from defocus_lib.data.images import UnreadableImage

        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(unreadable if isinstance(error, UnreadableImage) else USAGE) from None


def options_of(
    *settings: type, defaults: Mapping[str, object] = MappingProxyType({})
) -> Callable[[Callable], Callable]:
    """Give a command the fields of some dataclasses as options, which it gets as ``**options``.

    A field's annotation is ``Annotated[type, help]``; ``defaults`` take the place of its own.
    """
    parameters = []
    for kind in settings:
        hints = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            annotation, text = get_args(hints[field.name])
            default = defaults.get(field.name, field.default)
            option = typer.Option(*OPTION_NAMES.get(field.name, _flag(field, default)), help=text)
            default = Parameter.empty if default is MISSING else default
            parameters.append(
                Parameter(
                    field.name,
                    Parameter.KEYWORD_ONLY,
                    default=default,
                    annotation=Annotated[annotation, option],
                )
            )

    def decorate(command: Callable) -> Callable:
        own = list(signature(command, eval_str=True).parameters.values())[:-1]
        command.__signature__ = Signature(own + parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _flag(field: Field, default: object) -> list[str]:
    """Names of the option of a field that is a switch; of others typer makes them."""
    name = field.name.replace("_", "-")
    off = f"/--no-{name}" if default else ""
    return [f"--{name}{off}"] if isinstance(default, bool) else []
