"""`main(argv) -> int`: runs the command, turns errors into message, hint and exit code.

`--version` is answered, and completion of model names left to a light module, before anything
is imported that costs time. The only place that catches every exception; `--debug`, anywhere
before `--`, shows where it came from.
"""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` (without the program's name) says; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    end = words.index("--") if "--" in words else len(words)
    is_debugging = "--debug" in words[:end]
    if is_debugging:
        words = [word for word in words[:end] if word != "--debug"] + words[end:]
    try:
        if words in (["--version"], ["-v"]):
            from olmkit import __version__

            return _say(f"olm version {__version__}\n")
        if words[:1] == ["__complete"]:
            from olmkit.cli.generated.placevalues import candidates

            return _say("".join(f"{name}\n" for name in candidates(words[1:])))
        from olmkit.cli.app import run

        return run(words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _silence_stdout()
        return 141
    except Exception as error:
        from olmkit.cli.screen.report import report

        code = report(error, with_traceback=is_debugging)
        _give_up_unwritten()
        return code


def _say(text: str) -> int:
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


def _give_up_unwritten() -> None:
    """Drop what could not be written: Python would try once more, and change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        _silence_stdout()


def _silence_stdout() -> None:
    """Keep the flush at Python's end from complaining about stdout again."""
    import os

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
