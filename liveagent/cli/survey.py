"""`doctor` and `plan`: what there is, before anything runs."""

from __future__ import annotations

import typer

from liveagent.cli.program import AgentName, AsJson, app, console, typed_errors


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


@app.command()
def plan(agent: AgentName = "voice_video") -> None:
    """Say what an agent listens for and loads, without loading it."""
    with typed_errors():
        from liveagent.load import load_agent

        found = load_agent(agent).plan()
        typer.echo(f"model      {found.model}" + (f", {found.weights_bytes / 1e6:.1f} MB" if found.weights else ""))
        typer.echo(f"tools      {', '.join(found.tools) or 'none'}")
        typer.echo(f"hears      {found.sentences} sentences of {found.words} words ({found.states} states)")
        typer.echo(f"looks at   {found.camera or 'nothing'}")
        if found.watches:
            typer.echo("waits for  " + "; ".join(found.watches))
        if found.typed_only:
            typer.echo("typed only " + "; ".join(found.typed_only))
