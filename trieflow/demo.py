"""`trieflow demo`: start everything, publish real drawings, ask in twelve languages, change, delete, show.

All of it goes through the topics by `Client`, as any program would do it. Safe to run again: what has not changed
is answered `unchanged`. Read next: `demo_pictures.py`, `demo_questions.py`, `demo_acts.py`, `demo_learning.py`,
`demo_harm.py`, `demo_report.py`.
"""

from __future__ import annotations

import sys
import time
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.content_store import ContentStore
from streams.settings import Settings
from trieflow import render
from trieflow.client import Client
from trieflow.contact_picture import write_png
from trieflow.contact_sheet import Sheet, write_html
from trieflow.demo_acts import delete_one, ids_of, publish_all, publish_one_by_one, update_one
from trieflow.demo_harm import PEOPLE, SESSIONS, Nonsense, teach_nonsense, training_settings, why_left_out
from trieflow.demo_learning import teach_a_word
from trieflow.demo_pictures import LANGUAGES, Picture, all_pictures, chosen
from trieflow.demo_questions import Question, ask, ask_names, needed, questions
from trieflow.demo_report import (
    Report,
    Say,
    print_answers,
    print_change,
    print_lesson,
    print_nonsense,
    print_summary,
    sheet_of,
)
from trieflow.detached import start_detached, stop_system
from trieflow.running import connected, running_system
from trieflow.typed import typed_command

SHEET = "demo.html"
"""The contact sheet, in the data folder."""

_ONE_BY_ONE_SHARE, _ONE_BY_ONE_MOST = 0.1, 40
_NAMES = 120
_START_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class DemoOptions:
    """`pictures`: how many, all when None. `keep`: leave the system running. `png`: also draw the sheet there."""

    pictures: int | None = None
    keep: bool = False
    browser: bool = False
    png: Path | None = None
    as_json: bool = False


def run(settings: Settings, flags: Mapping[str, Any], options: DemoOptions) -> None:
    """Run the demo. `flags`: the global flags, for the system that it starts.

    Stops at the end what it started, unless `keep` says otherwise; in a terminal it waits for Ctrl-C before.
    Raises TrieflowError.
    """
    render.quiet_libraries()
    say = render.notes.print if options.as_json else render.output.print
    published = all_pictures()  # says what is missing before anything is started
    pictures = chosen(published, options.pictures or len(published), first=needed())
    started = time.perf_counter()
    with _system(settings, flags, pictures, keep=options.keep, say=say) as ours:
        settings = connected(settings)
        start_seconds = time.perf_counter() - started
        say(f"The system is ready after {start_seconds:.1f} s: Kafka at {settings.brokers}, everything runs.")
        with Client(settings) as client:
            report = _show(
                client, pictures, say=say, as_json=options.as_json, start_seconds=start_seconds, ours=ours
            )
        _write_sheets(settings, report, options, say)
        if options.as_json:
            render.json_line(report.to_json())
        _say_next(settings, flags, say, stops_itself=ours and not options.keep)
        if ours and not options.keep and sys.stdin.isatty() and not options.as_json:
            _wait_for_interrupt()


@contextmanager
def _system(
    settings: Settings, flags: Mapping[str, Any], pictures: list[Picture], *, keep: bool, say: Say
) -> Iterator[bool]:
    """A running system: the one of the data folder, else a new one; whether it is a new one."""
    if running_system(settings.data) is not None:
        say(f"Using the system that runs in {settings.data.absolute()}.")
        yield False
        return
    log = settings.data.absolute() / "logs" / "up.log"
    say(f"Starting Kafka and the workers (the first time fetches Kafka, 45 MB); see {log}")
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    environment = training_settings(settings.data, pictures)
    with render.notes.status("starting"):
        start_detached(settings, [*words, "up"], timeout=_START_TIMEOUT_S, environment=environment)
    finished = False
    try:
        yield True
        finished = True
    finally:
        if not (keep and finished):
            say("Stopping what was started; the data stay.")
            stop_system(settings.data)


def _show(
    client: Client, pictures: list[Picture], *, say: Say, as_json: bool, start_seconds: float, ours: bool
) -> Report:
    """All acts, in order."""
    by_characters = {picture.characters: picture for picture in pictures}
    single = pictures[-min(_ONE_BY_ONE_MOST, int(len(pictures) * _ONE_BY_ONE_SHARE)) :]
    many = pictures[: -len(single)]
    titled = sum(picture.title is not None for picture in pictures)
    say(
        f"\nPublishing {len(pictures):,} drawings: {len(pictures) - titled:,} as pictures alone, "
        f"{titled:,} with a title in one of {len(LANGUAGES)} languages."
    )
    with render.ProgressLine("receipts", len(many)) as advance:
        publishing = publish_all(client, many, advance)
    one_by_one = publish_one_by_one(client, single, again=publishing.counts["unchanged"] > 0)
    assert publishing.first is not None
    first = next(each for each in many if each.document_id == publishing.first.document_id)
    fitted = len(pictures) >= client.settings.index.ids_from
    ids = ids_of(client, first, publishing.first, fitted=fitted)
    answers = [ask(client, question) for question in questions(by_characters, fitted=fitted)]
    if not as_json:
        say("")
        print_answers(answers)
    names = ask_names(client, pictures, _NAMES)
    lesson = teach_a_word(client, many)
    updated, deleted = update_one(client, by_characters), delete_one(client, by_characters)
    say("")
    print_change(say, "Updated", updated)
    print_change(say, "Deleted", deleted)
    if lesson is not None:
        print_lesson(say, lesson)
    nonsense = _nonsense(client, pictures, [each.question for each in answers], say=say, ours=ours)
    report = Report(
        documents=len(pictures),
        start_seconds=start_seconds,
        publishing=publishing,
        one_by_one=one_by_one,
        answers=answers,
        names=names,
        ids=ids,
        updated=updated,
        deleted=deleted,
        lesson=lesson,
        nonsense=nonsense,
    )
    say("")
    print_summary(say, report)
    return report


def _nonsense(
    client: Client, pictures: list[Picture], questions: list[Question], *, say: Say, ours: bool
) -> Nonsense | None:
    """The last act, where it can be given."""
    left_out = why_left_out(pictures, ours=ours)
    if left_out is not None:
        say(f"\nLeft out: a harmful model and the gates; {left_out}.")
        return None
    say(f"\nTeaching it nonsense: {PEOPLE} people, {SESSIONS} sessions, random clicks; then a training.")
    nonsense = teach_nonsense(client, pictures, questions)
    print_nonsense(say, nonsense)
    return nonsense


def _write_sheets(settings: Settings, report: Report, options: DemoOptions, say: Say) -> None:
    store = ContentStore(settings.content_store)
    subtitle = f"{report.documents:,} drawings, half of them without a word; the expected ones are framed"
    sheet = sheet_of(report.answers, store=store, subtitle=subtitle)
    page = settings.data.absolute() / SHEET
    write_html(sheet, page)
    say(f"contact sheet     {page.as_uri()}")
    if options.png is not None:
        write_png(_shortened(sheet), options.png)
        say(f"as a picture      {options.png}")
    if options.browser:
        webbrowser.open(page.as_uri())


def _shortened(sheet: Sheet) -> Sheet:
    """Every other language, and all that is no single word: what fits on one screen."""
    words, others = sheet.rows[: len(LANGUAGES) : 2], sheet.rows[len(LANGUAGES) :]
    return Sheet(sheet.title, sheet.subtitle, [*words, *others], sheet.credit)


def _say_next(settings: Settings, flags: Mapping[str, Any], say: Say, *, stops_itself: bool) -> None:
    command = typed_command(flags)
    waits = stops_itself and sys.stdin.isatty()
    say("")
    if stops_itself and not waits:
        say(f"To go on with these documents: {command} up --detach (or the demo with --keep). Then:")
    else:
        say("Everything is still running. Try" + (", in another terminal:" if waits else ":"))
    say(f'  {command} search "something to drink" --minus alcohol')
    say(f"  {command} search --like openmoji/strawberry --explain")
    say(f"  {command} publish FOLDER_WITH_PICTURES")
    say(f"  {command} status")
    if not stops_itself:
        say(f"Stop it by:  {command} down")


def _wait_for_interrupt() -> None:
    render.output.print("Ctrl-C stops it all; the documents stay in the data folder.")
    try:
        while True:
            time.sleep(3_600)
    except KeyboardInterrupt:
        render.output.print("")
