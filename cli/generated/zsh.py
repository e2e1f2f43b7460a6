"""The completion script for zsh."""

from collections.abc import Sequence
from typing import Final

from olmkit.cli.generated.placevalues import NOTHING, Values
from olmkit.cli.generated.shapes import Flag, Shape, quoted

_SCRIPT: Final = r"""#compdef olm
# zsh completion for olm; written by `olm completion zsh`
_olm_names() {
    local -a names
    names=(${(f)"$(_call_program names olm __complete $1 ${(q)PREFIX} 2> /dev/null)"})
    compadd -a names
}
_olm_behind() {
    local word
    for word in ${words[2,CURRENT-1]}; do
        [[ $word == -* ]] || break
    done
    case $words[1]:$word in
@BEHIND@
    esac
}
_olm() {
    local -a commands
    commands=(
@COMMANDS@
    )
    if (( CURRENT == 2 )); then
        _describe -t commands command commands
        compadd -- --help --version --debug
        return
    fi
    shift words
    (( CURRENT-- ))
    case $words[1] in
@CASES@
    esac
}
if [[ $funcstack[1] == _olm ]]; then
    _olm "$@"
else
    compdef _olm olm
fi
"""


def script(commands: Sequence[Shape]) -> str:
    """The script for these commands."""
    rows, cases, behind = [], [], []
    for shape in commands:
        rows += [f"        {quoted(f'{name}:{shape.help}')}" for name in shape.names]
        specs = [_flag(flag) for flag in shape.flags] + _arguments(shape)
        cases.append(f"        {'|'.join(shape.names)})\n            _arguments -s -S \\")
        cases.append(" \\\n".join(f"                {spec}" for spec in specs))
        cases.append("            ;;")
        behind += [
            f"        {shape.name}:{verb}) {_action(values)} ;;"
            for verb, values in shape.behind_verbs.items()
        ]
    text = _SCRIPT.replace("@COMMANDS@", "\n".join(rows)).replace("@CASES@", "\n".join(cases))
    return text.replace("@BEHIND@", "\n".join(behind))


def _arguments(shape: Shape) -> list[str]:
    specs = []
    for number, values in enumerate(shape.places, start=1):
        place = "*" if number == len(shape.places) else str(number)
        action = _braced(values)
        if place == "*" and shape.behind_verbs:
            action = "_olm_behind"
        specs.append(quoted(f"{place}:{_title(values)}:{action}"))
    return specs


def _title(values: Values) -> str:
    return values.asked.removesuffix("s") or ("file" if values.files else "word")


def _flag(flag: Flag) -> str:
    help_ = flag.help.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = f":value:{_braced(flag.values)}" if flag.takes_value else ""
    # A long flag may have its value behind an equals sign too.
    names = [n + "=" if flag.takes_value and n.startswith("--") else n for n in flag.names]
    others = "*" if flag.repeats else f"({' '.join(flag.names)})"
    if len(names) == 1:
        return quoted(f"{'*' * flag.repeats}{names[0]}[{help_}]{value}")
    return f"{quoted(others)}{{{','.join(names)}}}{quoted(f'[{help_}]{value}')}"


def _braced(values: Values) -> str:
    """An action of `_arguments`: a blank for nothing."""
    return " " if values == NOTHING else f"{{ {_action(values)} }}"


def _action(values: Values) -> str:
    parts = [
        f"_olm_names {values.asked}" if values.asked else "",
        "_files" if values.files else "",
        f"compadd {_SUFFIX if values.words[-1].endswith('=') else ''}-- {' '.join(values.words)}"
        if values.words
        else "",
    ]
    return "; ".join(filter(None, parts))


_SUFFIX: Final = "-S '' "
