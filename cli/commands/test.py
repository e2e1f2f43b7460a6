"""`olm test`: asks models the questions of a suite, and holds their answers against it."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

from typer import Argument, Option

from olmkit.cli.errors import ExpectationFailed, UsageError
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import DataForm
from olmkit.cli.records.recordlist import Column, RecordList, show_value
from olmkit.cli.screen.output import display_width
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.settings import client_of, load_settings
from olmkit.cli.testing.results import Outcome, Result, as_json, summary
from olmkit.cli.testing.suitefile import DEFAULT_FILES, Case, default_suite, read_suite
from olmkit.cli.testing.trials import Trials, chosen
from olmkit.cli.testing.variants import Variant, variants
from olmkit.cli.typedpaths import write_errors

WORDS = {Outcome.PASSED: "ok", Outcome.FAILED: "FAIL", Outcome.ERROR: "ERROR"}
TRIALS: Final = RecordList(
    Column("MODEL", "Model", lambda trial, _: visible(trial["model"])),
    Column("CASE", "Case", lambda trial, _: visible(trial["case"])),
    Column("LINE", "Line", lambda trial, _: str(trial["line"])),
    quiet="case",
)
HEADER = ("MODEL", "CASE", "RESULT", "TIME", "TOKENS")


def test(
    file: Annotated[
        str, Argument(metavar="[FILE]", help=f"The suite; {' or '.join(DEFAULT_FILES[:2])}.")
    ] = "",
    model: Annotated[
        list[str] | None,
        Option("--model", metavar="MODEL", help="Instead of the suite's models; repeatable."),
    ] = None,
    filter: Annotated[
        list[str] | None,
        Option(
            "--filter",
            metavar="TEXT",
            help="Only cases whose name has the text in it, or fits it with * and ?; repeatable.",
        ),
    ] = None,
    list_: Annotated[
        bool, Option("--list", help="Only show which cases would be put to which models.")
    ] = False,
    retries: Annotated[
        int | None,
        Option("--retries", metavar="N", min=0, help="Ask again up to N times before it fails."),
    ] = None,
    no_pull: Annotated[bool, Option("--no-pull", help="Fail if the store lacks a model.")] = False,
    ephemeral: Annotated[
        bool,
        Option("--ephemeral", help="Use a daemon and a store of its own, which vanish at the end."),
    ] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
    junit: Annotated[
        str, Option("--junit", metavar="FILE", help="Write the results there as JUnit's XML.")
    ] = "",
    github: Annotated[
        bool,
        Option("--github", help="Say on stderr what failed in the words of GitHub's runner."),
    ] = False,
) -> None:
    """Ask models the questions of a suite, and hold their answers against what it expects.

    A suite is a TOML or YAML file; docs/testing.md describes it. An answer that is not what was
    expected ends the command with 14. What keeps an answer away (a bad suite, a missing model, no
    daemon) ends it with the exit status of that cause, whatever else failed.

    --json and --format print one object, with --list one a trial.

    Nothing is asked twice unless --retries or the suite says so.
    """
    form = TRIALS.form(format=format, json=json)
    terminal = Terminal()
    file = file or default_suite()
    suite = read_suite(file)
    cases = chosen(suite.cases, filter or [])
    folder = Path() if model else suite.path.parent
    matrix = variants(model or suite.models, suite.quantizations, folder)
    if not matrix:
        raise UsageError(
            f"{file} names no models", hint='models = ["demo"] does, or --model on the command line'
        )
    if list_:
        _list(terminal, matrix, cases, form)
        return
    results: list[Result] = []
    with ExitStack() as stack:
        settings = load_settings(terminal)
        if ephemeral:
            from olmkit.cli.testing.privatedaemon import private_daemon

            settings = stack.enter_context(private_daemon(settings))
        client = client_of(settings, terminal, start=not ephemeral)
        table = _Rows(terminal, matrix, cases) if form.is_text else None
        trials = Trials(client, settings, terminal, pulls=not no_pull, retries=retries)
        for result in trials.run(matrix, cases):
            results.append(result)
            if table is not None:
                table.show(result)
    _report(terminal, file, results, form, junit=junit, github=github)


def _list(
    terminal: Terminal, matrix: tuple[Variant, ...], cases: tuple[Case, ...], form: DataForm
) -> None:
    records = [
        {"model": variant.label, "case": case.name, "line": case.line}
        for variant in matrix
        for case in cases
    ]
    TRIALS.show(records, form, terminal)


class _Rows:
    """The table, each row printed as soon as its answer is there."""

    def __init__(
        self, terminal: Terminal, matrix: tuple[Variant, ...], cases: tuple[Case, ...]
    ) -> None:
        self._terminal = terminal
        self._widths = (
            max(display_width(text) for text in (HEADER[0], *(v.label for v in matrix))),
            max(display_width(text) for text in (HEADER[1], *(c.name for c in cases))),
            len(HEADER[2]),
            8,
            len(HEADER[4]),
        )
        self._row(*HEADER)

    def show(self, result: Result) -> None:
        word = WORDS[result.outcome]
        if result.attempts > 1:
            word += f" ({result.attempts})"
        has_answer = result.answer is not None
        self._row(
            result.model,
            result.case.name,
            word,
            f"{result.total_s:.2f} s" if has_answer else "",
            str(result.tokens) if has_answer else "",
        )
        for reason in result.reasons:
            self._terminal.data(f"    {reason}\n")
        if result.outcome is Outcome.FAILED and result.answer is not None and result.answer.text:
            first, *more = visible(result.answer.text.strip()).splitlines() or [""]
            self._terminal.data(
                f"    the answer: {first[:200]}{' …' if more or first[200:] else ''}\n"
            )

    def _row(self, *cells: str) -> None:
        padded = (
            cell + " " * (width - display_width(cell))
            for cell, width in zip(cells, self._widths, strict=True)
        )
        self._terminal.data("    ".join(padded).rstrip() + "\n")


def _report(
    terminal: Terminal,
    file: str,
    results: list[Result],
    form: DataForm,
    *,
    junit: str,
    github: bool,
) -> None:
    """What is written at the end, and the exit status.

    Raises:
        Exception: what kept the first answer away that did not come.
        ExpectationFailed: all answers came, and one was not what was expected.
    """
    text = f"\n{summary(results)}\n"
    show_value(as_json(file, results), form, terminal, lambda: terminal.data(text))
    if junit:
        from olmkit.cli.testing.junit import junit_xml

        with write_errors(junit):
            Path(junit).write_text(junit_xml(file, results), encoding="utf-8")
    if github:
        from olmkit.cli.testing.annotations import annotations

        terminal.message(annotations(file, results))
    for result in results:
        if result.error is not None:
            raise result.error
    failed = sum(result.outcome is Outcome.FAILED for result in results)
    if failed:
        raise ExpectationFailed(f"{failed} of {len(results)} answers are not what was expected")
