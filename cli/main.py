"""`main(argv) -> int`: runs the command, turns errors into message, hint and exit code.

`--version` is answered, and completion of model names left to a light module, before anything
is imported that costs time. The only place that catches every exception; `--debug`, anywhere
before `--`, shows where it came from.
"""

import gc
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` (without the program's name) says; returns the exit code.

    Without `argv`, which is how the installed program calls it, the process ends here.
    """
    if argv is not None:
        return _exit_code(list(argv))
    gc.disable()  # imports make no garbage, and looking for it is a tenth of a light command
    code = _exit_code(sys.argv[1:])
    _leave(code)
    return code


def _exit_code(words: list[str]) -> int:
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


def _leave(code: int) -> None:
    """End the process without taking Python down module by module, a sixth of a light command.

    What was registered for the end still runs. Returns where that would not do: other threads are
    running, or what was written cannot be; then Python ends as it always does.
    """
    import atexit
    import os

    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
    except BaseException:
        return
    os._exit(code)


def _say(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        from olmkit.cli.screen.terminal import Terminal

        Terminal().data(text)  # fails alike, and says so as all commands do
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
