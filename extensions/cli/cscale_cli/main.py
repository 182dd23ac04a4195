"""The ``cscale`` command. Each package brings its own subcommands.

A package names, under the entry point group ``cscale.commands``, a function
``register(app: typer.Typer) -> None``. One that cannot be imported (its extra is not installed)
is left out; ``cscale --help`` then says so.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import typer

GROUP = "cscale.commands"


def build(points: list[EntryPoint] | None = None) -> typer.Typer:
    """The command line with everybody's subcommands."""
    missing: list[str] = []
    app = typer.Typer(
        name="cscale",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
        rich_markup_mode="rich",
        help="C-SCALE Hub: JupyterLab for Earth observation.",
    )

    @app.callback(epilog="")
    def common() -> None:
        """C-SCALE Hub: JupyterLab for Earth observation."""

    found = entry_points(group=GROUP) if points is None else points
    for point in sorted(found, key=lambda each: each.name):
        try:
            register = point.load()
        except ImportError as error:
            missing.append(f"{point.name} ({error})")
            continue
        register(app)
    if missing:
        app.info.epilog = "Not available, because a package is missing: " + "; ".join(missing)
        if app.registered_callback is not None:
            app.registered_callback.epilog = app.info.epilog
    return app


def main() -> None:
    """Entry point of the ``cscale`` script."""
    build()(prog_name="cscale")


if __name__ == "__main__":
    main()
