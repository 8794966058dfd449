"""The command line: the table of commands, the options they share, and errors as sentences with exit codes."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from hopper.cli.connection import Connection, connected, connection_parameters
from hopper.cli.doctor import doctor
from hopper.cli.exits import MEANINGS, Exit, exit_of, sentence_of
from hopper.cli.explain import explain
from hopper.cli.guard import guard
from hopper.cli.health import health
from hopper.cli.instances import get, link, register, state, unlink
from hopper.cli.listing import discover, ls
from hopper.cli.logging import LogLevel
from hopper.cli.maintenance import maintenance
from hopper.cli.monitor import monitor
from hopper.cli.removal import rm
from hopper.cli.run import run
from hopper.cli.scripts import lua
from hopper.cli.serve import serve
from hopper.cli.tree import tree
from hopper.cli.watch import watch
from hopper.errors import HopperError

__all__ = ["app", "main"]

_LONG_RUNNING = (serve, monitor, run)
_ONE_SHOT = (
    register,
    get,
    ls,
    discover,
    tree,
    health,
    guard,
    explain,
    watch,
    link,
    unlink,
    state,
    maintenance,
    rm,
    doctor,
    lua,
)

_EPILOG = "Exit codes:\n\n\b\n" + "\n".join(f"{code}  {meaning}" for code, meaning in MEANINGS.items())


class _Commands(TyperGroup):
    """The group of all commands, where their errors end: one sentence on standard error, and the code of its kind."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except HopperError as error:
            _fail(error)
        except ExceptionGroup as group:
            first = _first_of_ours(group)
            if first is None:
                raise
            _fail(first)
        except BrokenPipeError:
            # Whoever read us has seen enough. What is still buffered has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.OK) from None


def _fail(error: HopperError) -> None:
    typer.echo(f"hopper: {sentence_of(error)}", err=True)
    raise typer.Exit(exit_of(error)) from None


def _first_of_ours(group: BaseExceptionGroup[Any]) -> HopperError | None:
    for error in group.exceptions:
        found = _first_of_ours(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, HopperError):
            return found
    return None


def _root() -> Callable[..., None]:
    """The group's own callback: it takes the shared options and, for itself, `--version`."""

    def hopper(context: typer.Context, version: bool, **values: Any) -> None:
        if version:
            from importlib.metadata import version as version_of

            typer.echo(f"hopper {version_of('hopper-registry')}")
            raise typer.Exit(Exit.OK)
        context.obj = Connection(**values)
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        inspect.Parameter(
            "version",
            inspect.Parameter.KEYWORD_ONLY,
            default=typer.Option(False, "--version", help="print the version and end"),
            annotation=bool,
        ),
        *connection_parameters(),
    ]
    hopper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    hopper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return hopper


def _build() -> typer.Typer:
    # Without rich's markup: plain help is twice as quick, and reads the same in a pipe.
    application = typer.Typer(
        name="hopper",
        cls=_Commands,
        help="Hopper's instance registry: a legal tree, quick discovery and prompt failure detection on Redis.",
        epilog=_EPILOG,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        invoke_without_command=True,
    )
    application.callback()(_root())
    for command in (*_LONG_RUNNING, *_ONE_SHOT):
        level = LogLevel.INFO if command in _LONG_RUNNING else LogLevel.WARNING
        # What follows the command of `run` is that command's, options included.
        context = {"allow_interspersed_args": command is not run}
        application.command(command.__name__, context_settings=context)(connected(command, level=level))
    return application


app = _build()


def main() -> None:
    """The entry point of `hopper` and of `python -m hopper`."""
    app(prog_name="hopper")
