"""`up`, `down`, `status`, `worker`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from trieflow import render
from trieflow.session import Session
from trieflow.typed import typed_command

if TYPE_CHECKING:
    from trieflow.running import RunningSystem
    from trieflow.status import Status, WorkerLine

ROLES = ("indexer", "searcher", "curator", "learner", "trainer")
_DETACH_TIMEOUT_S = 300.0


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Run", epilog="Example: trieflow up --searchers 2 --detach")(up)
    app.command(rich_help_panel="Run", epilog="Example: trieflow down")(down)
    app.command(rich_help_panel="Run", epilog="Example: trieflow status --json | jq .lag")(status)
    app.command(
        rich_help_panel="Run",
        epilog="Example: TRIEFLOW_WORKER=7 trieflow --brokers kafka:9092 worker indexer",
    )(worker)


def up(
    ctx: typer.Context,
    indexers: Annotated[int, typer.Option(help="How many indexers.", min=1)] = 1,
    searchers: Annotated[int, typer.Option(help="How many searchers.", min=1)] = 1,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all is ready.")] = False,
) -> None:
    """Start everything on this machine: Kafka (unless a broker is named), topics, workers.

    Ctrl-C stops it in order. What was published is kept in the data folder.
    """
    session = cast(Session, ctx.obj)
    if detach:
        from trieflow.detached import start_detached

        flags = [word for name, value in session.flags.items() for word in (f"--{name}", str(value))]
        counts = ["--indexers", str(indexers), "--searchers", str(searchers)]
        system = start_detached(session.settings, [*flags, "up", *counts], timeout=_DETACH_TIMEOUT_S)
        _say_next(session, system, how_to_stop="{command} down")
        return
    from trieflow.up import Plan, run_system

    render.quiet_libraries()

    def ready(system: RunningSystem, lines: list[WorkerLine]) -> None:
        render.table(("role", "worker", "state", "pid", "health"), [_worker_row(line)[:5] for line in lines])
        _say_next(session, system, how_to_stop="Ctrl-C")

    run_system(session.settings, Plan(indexers, searchers), note=render.notes.print, on_ready=ready)


def _say_next(session: Session, system: RunningSystem, *, how_to_stop: str) -> None:
    command = typed_command(session.flags)
    kind = "embedded Kafka" if system.embedded else "Kafka"
    render.output.print(
        f"Ready. {kind} at {system.brokers}, topics {system.prefix}*, {system.partitions} partitions.\n"
        f"Next:  {command} publish FOLDER_WITH_PICTURES\n"
        f'       {command} search "red boots"\n'
        f"       {command} status\n"
        f"Stop:  {how_to_stop.format(command=command)}"
    )


def down(ctx: typer.Context) -> None:
    """Stop what `trieflow up` started in this data folder: workers first, then Kafka. Data is kept."""
    from trieflow.detached import stop_system

    data = cast(Session, ctx.obj).settings.data
    pid = stop_system(data)
    if pid is None:
        render.output.print(f"nothing runs in {data.absolute()}")
    else:
        render.output.print(
            f"stopped process {pid} and all it had started; the data stay in {data.absolute()}"
        )


def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show topics with their ends, how far each group is behind, and the health of each worker.

    Exit code 1 when a topic is missing or a worker of this data folder is not ready.
    """
    from trieflow.status import gather

    found = gather(cast(Session, ctx.obj).connected)
    if as_json:
        render.json_line({**found.model_dump(mode="json"), "problems": found.problems})
    else:
        _show(found)
    if found.problems:
        raise typer.Exit(1)


def _show(found: Status) -> None:
    topics = [(t.topic, t.partitions, t.end, _age(t.newest_age_s)) for t in found.topics]
    render.table(("topic", "partitions", "end", "newest record"), topics, title=f"Kafka at {found.brokers}")
    lag = [(line.group, line.topic, line.committed, line.end, line.lag) for line in found.lag]
    render.table(("group", "topic", "committed", "end", "lag"), lag)
    render.table(
        ("role", "worker", "state", "pid", "health", "up", "details"), [_worker_row(w) for w in found.workers]
    )
    for problem in found.problems:
        render.error(problem)


def _worker_row(line: WorkerLine) -> list[Any]:
    details = " ".join(f"{name}={value}" for name, value in line.details.items())
    return [line.role, line.worker, line.state, str(line.pid), line.url, _age(line.uptime_s), details]


def _age(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def worker(
    ctx: typer.Context,
    role: Annotated[str, typer.Argument(help="|".join(ROLES))],
    tied: Annotated[bool, typer.Option("--tied", help="End when standard input closes.")] = False,
) -> None:
    """Run one worker until it is told to stop. More workers of a role share its work.

    Each worker of a role needs a name of its own (TRIEFLOW_WORKER) and keeps its state in <data>/<role>-<name>.
    """
    if role not in ROLES:
        raise typer.BadParameter(f"{role!r} is none of {', '.join(ROLES)}", param_hint="ROLE")
    if tied:
        from trieflow.supervisor import end_with_parent

        end_with_parent()
    from trieflow.names import check_names

    check_names()
    import_module(f"agents.{role}").run(cast(Session, ctx.obj).connected)
