"""`doctor`: what there is, before anything runs."""

from __future__ import annotations

import typer

from liveagent.cli.program import AsJson, app, console, typed_errors


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at the devices, libraries, weights and speed of this machine, and say what to mend."""
    with typed_errors():
        from liveagent.runtime.doctor import probe_all

        findings = probe_all()
        if as_json:
            import dataclasses
            import json

            typer.echo(json.dumps([dataclasses.asdict(each) for each in findings], indent=2))
        else:
            from rich.table import Table
            from rich.text import Text

            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column()
            table.add_column()
            table.add_column(overflow="fold")
            for each in findings:
                sign, color = ("ok", "green") if each.ok else ("MEND", "red") if each.needed else ("none", "yellow")
                said = Text.assemble(each.what, (f"\n{each.fix}", "yellow") if each.fix else "")
                table.add_row(Text(sign, color), Text(each.name), said)
            console().print(table)
    raise typer.Exit(0 if all(each.ok or not each.needed for each in findings) else 1)
