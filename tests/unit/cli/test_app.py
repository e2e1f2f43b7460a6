"""The command tree: arity, flags, near misses, and what is told about them."""

import pytest
from _pytest.capture import CaptureFixture

from olmkit import __version__
from olmkit.cli.app import ALIASES, COMMANDS, Command, load_command, root, run
from olmkit.cli.errors import UsageError
from olmkit.cli.main import main
from olmkit.cli.screen.report import report


def complaint(*words: str) -> tuple[str, str | None]:
    """What is told about words that make no command."""
    with pytest.raises(UsageError) as caught:
        run(words)
    return str(caught.value), caught.value.hint


def test_version_is_answered_by_the_flag_alone(capsys: CaptureFixture[str]) -> None:
    for flag in ("--version", "-v"):
        assert main([flag]) == 0
        assert capsys.readouterr().out == f"olm version {__version__}\n"


def test_the_bare_command_shows_help_on_stdout(capsys: CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for name, help_ in COMMANDS.items():
        assert f"  {name}" in shown.out
        assert help_ in shown.out


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_a_narrow_terminal(
    name: str, capsys: CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main([name, "--help"] if name else []) == 0
    for line in capsys.readouterr().out.splitlines():
        assert len(line) <= 40 or line.split() == ["--to", "<systemd|compose|kubernetes|quadlet>"]


@pytest.mark.parametrize("name", [*COMMANDS, *ALIASES])
def test_every_command_has_help(name: str, capsys: CaptureFixture[str]) -> None:
    for words in ([name, "--help"], [name, "-h"], ["help", name]):
        assert main(words) == 0
        shown = capsys.readouterr()
        assert shown.out.startswith(f"Usage: olm {name}")
        assert shown.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_and_argument_is_explained(name: str) -> None:
    for param in load_command(name).params:
        assert getattr(param, "help", None), f"{name}: {param.name}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pull"], "'olm pull' requires 1 argument"),
        (["pull", "a", "b"], "'olm pull' accepts at most 1 argument"),
        (["cp", "a"], "'olm cp' requires 2 arguments"),
        (["rm"], "'olm rm' requires at least 1 argument"),
        (["run"], "'olm run' requires at least 1 argument"),
        (["ls", "a", "b"], "'olm ls' accepts at most 1 argument"),
        (["serve", "now"], "'olm serve' accepts no arguments"),
        (["create"], "'olm create' requires 1 argument"),
    ],
)
def test_arguments_are_counted_in_dockers_words(words: list[str], message: str) -> None:
    told, hint = complaint(*words)
    assert told == message
    assert hint is not None
    assert hint.startswith("usage: olm ")


def test_an_unknown_command_is_told_with_near_ones() -> None:
    assert complaint("plul") == ("unknown command 'plul'", "did you mean `olm pull`?")
    assert complaint("compl") == ("unknown command 'compl'", "did you mean `olm completion`?")
    assert complaint("zzz") == ("unknown command 'zzz'", "`olm help` lists them")
    assert complaint("config", "gett", "x")[1] == "did you mean 'get'?"
    assert complaint("launch", "clade")[1] == "did you mean 'claude' or 'codex'?"
    assert complaint("session", "zzz")[1] == "`olm session --help` lists the flags"
    assert complaint("help", "zzz") == ("unknown command 'zzz'", "`olm help` lists them")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ls", "--frobnicate"], "unknown flag: --frobnicate"),
        (["--frobnicate"], "unknown flag: --frobnicate"),
        (["ls", "-x"], "unknown flag: -x"),
        (["run", "m", "--keepalive"], "flag needs an argument: --keepalive"),
        (["ls", "--format", "xml"], "invalid value for --format: 'xml' is not table, json or"),
        (["run", "m", "--dimensions", "x"], "invalid value for --dimensions: "),
        (["run", "m", "--keepalive", "soon"], "invalid value for --keepalive: "),
        (["run", "m", "--format", "{"], "invalid value for --format: "),
        (["run", "m", "--format", "[]"], "invalid value for --format: "),
        (["run", "m", "--think=hard"], 'invalid value for --think: "hard"'),
        (["show", "m", "--license", "--system"], "only one of '--license'"),
        (["create", "--check", "--format", "{{.Name}}"], "--check takes --json, and no template"),
        (["create", "m", "--build-arg", "x"], "invalid value for --build-arg: 'x'"),
    ],
)
def test_wrong_flags_are_told_in_one_sentence(words: list[str], message: str) -> None:
    told, _ = complaint(*words)
    assert told.startswith(message)
    assert "\n" not in told


def test_a_near_flag_is_suggested() -> None:
    _, hint = complaint("run", "m", "--verbos")
    assert hint == "did you mean --verbose?"


def test_usage_errors_go_to_stderr_without_usage_text(capsys: CaptureFixture[str]) -> None:
    assert main(["pull"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "Error: 'olm pull' requires 1 argument\nhint: usage: olm pull [OPTIONS] MODEL\n"
    )


def test_where_an_error_came_from_is_shown_with_debug_only(capsys: CaptureFixture[str]) -> None:
    for words in (["--debug", "pull"], ["pull", "--debug"]):
        assert main(words) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("Traceback (most recent call last):")
        assert shown.endswith("hint: usage: olm pull [OPTIONS] MODEL\n")


def test_a_defect_is_one_sentence_and_a_hint(capsys: CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("division by zero")) == 1
    assert capsys.readouterr().err == (
        "Error: ZeroDivisionError: division by zero\n"
        "hint: this is a defect of olm; --debug shows where\n"
    )


def params_of(name: str, *words: str) -> dict[str, object]:
    """What the words give the command's function."""
    command = load_command(name)
    with command.make_context(name, list(words), parent=root().make_context("olm", [])) as ctx:
        return dict(ctx.params)


def test_flags_may_stand_anywhere_and_end_at_two_dashes() -> None:
    params = params_of("run", "--verbose", "m", "a", "--nowordwrap", "b", "--", "--insecure")
    assert params["verbose"] is params["nowordwrap"] is True
    assert params["insecure"] is False
    assert params["prompt"] == ("a", "b", "--insecure")


@pytest.mark.parametrize(
    ("word", "value"), [("--verbose=true", True), ("--verbose=0", False), ("--verbose=F", False)]
)
def test_flags_take_a_boolean_as_in_go(word: str, value: bool) -> None:
    assert params_of("run", "m", word)["verbose"] is value


def test_truncate_can_be_said_no() -> None:
    assert params_of("run", "m")["truncate"] is None
    assert params_of("run", "m", "--truncate")["truncate"] is True
    assert params_of("run", "m", "--truncate=false")["truncate"] is False
    assert params_of("run", "m", "--no-truncate")["truncate"] is False


@pytest.mark.parametrize(
    ("words", "think", "prompt"),
    [
        (["m", "why"], None, ["why"]),
        (["m", "--think", "why"], "true", ["why"]),
        (["m", "--think", "high", "why"], "high", ["why"]),
        (["m", "why", "--think"], "true", ["why"]),
        (["m", "--think=low", "--", "--think"], "low", ["--think"]),
    ],
)
def test_think_takes_a_level_but_never_the_prompt(
    words: list[str], think: str | None, prompt: list[str]
) -> None:
    params = params_of("run", *words)
    assert (params["think"], params["prompt"]) == (think, tuple(prompt))


def test_commands_share_one_class() -> None:
    assert all(isinstance(load_command(name), Command) for name in COMMANDS)
