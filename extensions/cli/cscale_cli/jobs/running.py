"""What every subcommand has: the options of the connection, ``--json``, errors as exit statuses.

Exit status: 0 when it was done, 1 when it failed or nobody answered, 2 when it cannot be
understood.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cscale_cli.jobs.connecting import TOKEN_FILE_VARIABLE, Door, opened
from cscale_core.client import Jobs
from cscale_core.errors import CScaleError, InvalidInput
from cscale_core.untrusted import plain

_FAILED, _NOT_UNDERSTOOD, _INTERRUPTED = 1, 2, 130

_OPTIONS = {
    "hub": (
        Annotated[
            str, typer.Option(help="Address of a hub; default: the one around this shell, or here.")
        ],
        "",
    ),
    "user": (
        Annotated[str, typer.Option(help="Whose jobs; on this machine by default: aqua.")],
        "",
    ),
    "token_file": (
        Annotated[
            Path | None,
            typer.Option(
                help="File of mode 0600 with a token of the hub; "
                f"default: what {TOKEN_FILE_VARIABLE} names."
            ),
        ],
        None,
    ),
    "data": (
        Annotated[
            Path | None, typer.Option(help="Data folder of a hub that runs on this machine.")
        ],
        None,
    ),
    "start": (
        Annotated[bool, typer.Option("--start", help="Start the user's server if it is off.")],
        False,
    ),
    "as_json": (
        Annotated[bool, typer.Option("--json", help="Machine-readable output.")],
        False,
    ),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One call of a subcommand.

    :ivar out: for what was asked for.
    :ivar side: for everything else.
    """

    jobs: Jobs
    out: Console
    side: Console
    as_json: bool

    def say(self, sentence: str) -> None:
        """A remark, beside the output."""
        _say(self.side, sentence)

    def give(self, document: Any) -> None:
        """The output for a program."""
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    @property
    def progress(self) -> bool:
        """Whether somebody looks, or reads lines."""
        return not self.as_json or self.side.is_terminal


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """A subcommand that gets a :class:`Run` first, with the options that make one."""
    own = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> None:
        as_json = bool(given.pop("as_json"))
        door = Door(**{name: given.pop(name) for name in _OPTIONS if name in given})
        # In a kernel FORCE_COLOR is set, whatever reads the output.
        out = Console(force_terminal=sys.stdout.isatty())
        side = Console(stderr=True, force_terminal=sys.stderr.isatty())
        try:
            with opened(door, lambda sentence: _say(side, sentence)) as jobs:
                command(Run(jobs, out, side, as_json), *args, **given)
        except CScaleError as error:
            _explain(error, side, as_json=as_json)
            understood = not isinstance(error, InvalidInput)
            raise typer.Exit(_FAILED if understood else _NOT_UNDERSTOOD) from error
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            # Who read the output has enough of it; what is left in the buffer goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(_FAILED) from None

    parameters = list(own.parameters.values())[1:] + [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, (annotation, default) in _OPTIONS.items()
    ]
    # typer reads these.
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _say(side: Console, sentence: str) -> None:
    side.print(plain(sentence), markup=False, highlight=False, soft_wrap=True)


def _explain(error: CScaleError, side: Console, *, as_json: bool) -> None:
    """Say what is wrong on the terminal, and as a problem to a program."""
    side.print("[red]✗[/] ", end="")
    _say(side, error.message)
    if error.hint:
        side.print(f"  {plain(error.hint)}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps(error.as_dict()) + "\n")
