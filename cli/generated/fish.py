"""The completion script for fish."""

from collections.abc import Iterator, Sequence
from typing import Final

from olmkit.cli.generated.placevalues import Values
from olmkit.cli.generated.shapes import Flag, Shape, quoted

_SCRIPT: Final = r"""# fish completion for olm; written by `olm completion fish`
function __olm_words
    # The command and its arguments before the cursor, without flags and their values.
    set -l valued
    set -l words
    set -l skips 0
    for word in (commandline -opc)[2..-1]
        if test $skips = 1
            set skips 0
        else if string match -q -- '-*' $word
            contains -- $word $valued; and set skips 1
        else
            set -a words $word
            if test (count $words) = 1
                set valued (__olm_valued $word)
            end
        end
    end
    string join \n -- $words
end
function __olm_valued
    switch $argv[1]
@VALUED@
    end
end
function __olm_at
    # Whether the cursor is at a place of one of the commands: 1, 2, … or 2+; with one of the verbs
    set -l words (__olm_words)
    contains -- "$words[1]" (string split ' ' -- $argv[1]); or return 1
    test (count $argv) -lt 2; and return 0
    set -l place (string trim -r -c + -- $argv[2])
    if string match -q '*+' -- $argv[2]
        test (count $words) -ge $place; or return 1
    else
        test (count $words) = $place; or return 1
    end
    test (count $argv) -lt 3; or contains -- "$words[2]" $argv[3]
end
complete -c olm -f
complete -c olm -n 'test -z (__olm_words)[1]' -s v -l version -d 'Show the version'
complete -c olm -n 'test -z (__olm_words)[1]' -s h -l help -d 'Show help'
complete -c olm -n 'test -z (__olm_words)[1]' -l debug -d 'Show where an error came from'
"""


def script(commands: Sequence[Shape]) -> str:
    """The script for these commands."""
    none_yet = "'test -z (__olm_words)[1]'"
    valued, lines = [], []
    for shape in commands:
        lines += [
            f"complete -c olm -n {none_yet} -a {name} -d {quoted(shape.help)}"
            for name in shape.names
        ]
        names = " ".join(n for flag in shape.flags if flag.takes_value for n in flag.names)
        if names:
            words = names.replace(" ", "\\n")
            valued.append(f"        case {' '.join(shape.names)}\n            echo -e '{words}'")
    for shape in commands:
        at = f"__olm_at {_inner(' '.join(shape.names))}"
        lines += [f"complete -c olm -n {quoted(at)} {_flag(flag)}" for flag in shape.flags]
        lines += [f"complete -c olm -n {quoted(at + where)} {what}" for where, what in _at(shape)]
    return _SCRIPT.replace("@VALUED@", "\n".join(valued)) + "\n".join(lines) + "\n"


def _inner(text: str) -> str:
    return f'"{text}"'


def _at(shape: Shape) -> Iterator[tuple[str, str]]:
    for verb, values in shape.behind_verbs.items():
        yield f" 2 {verb}", _values(values)
    for number, values in enumerate(shape.places, start=1):
        place = f"{number}+" if number == len(shape.places) else number
        if what := _values(values):
            yield f" {place}", what


def _flag(flag: Flag) -> str:
    words = [f"-l {name[2:]}" if name[:2] == "--" else f"-s {name[1:]}" for name in flag.names]
    if flag.takes_value:
        words.append("-r" if flag.values.files else "-x")
    if what := _values(flag.values):
        words.append(what)
    return " ".join([*words, f"-d {quoted(flag.help)}"])


def _values(values: Values) -> str:
    parts = []
    if values.files:
        parts.append("-F")
    if values.words:
        parts.append(f"-a {quoted(' '.join(values.words))}")
    if values.asked:
        parts.append(f"-a '(olm __complete {values.asked} (commandline -ct))'")
    return " ".join(parts)
