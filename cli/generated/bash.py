"""The completion script for bash."""

from collections.abc import Iterator, Sequence
from typing import Final

from olmkit.cli.generated.placevalues import NOTHING, Values
from olmkit.cli.generated.shapes import Shape

_SCRIPT: Final = r"""# bash completion for olm; written by `olm completion bash`
_olm() {
    local line=${COMP_LINE:0:COMP_POINT} words cur prev command='' verb='' place=0
    local flags='' valued='' choices='' asked='' files='' i
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    cur=${words[-1]} prev=${words[-2]}
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        if [[ ${words[i]} == -* ]]; then
            [[ " $valued " == *" ${words[i]} "* ]] && ((i++))
        elif [[ ! $command ]]; then
            command=${words[i]} place=1
            _olm_flags
        else
            ((place++ == 1)) && verb=${words[i]}
        fi
    done
    [[ $command ]] || _olm_flags
    if [[ $cur == --*=* ]]; then
        prev=${cur%%=*} cur=${cur#*=}
    fi
    if [[ " $valued " == *" $prev "* ]]; then
        case $command:$prev in
@VALUES@
        esac
    elif [[ $cur == -* ]]; then
        choices=$flags
    else
        case $command:$place:$verb in
@PLACES@
        esac
    fi
    COMPREPLY=($(compgen -W "$choices" -- "$cur"))
    local IFS=$'\n'
    [[ $asked ]] && COMPREPLY+=($("${words[0]}" __complete "$asked" "$cur" 2> /dev/null))
    if [[ $files && ${#COMPREPLY[@]} == 0 ]]; then
        compopt -o default 2> /dev/null
        return
    fi
    [[ $files ]] && COMPREPLY+=($(compgen -f -- "$cur"))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2> /dev/null
    # bash takes what follows the last of these for the word.
    for i in : =; do
        if [[ $cur == *$i* && $COMP_WORDBREAKS == *$i* ]]; then
            COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*$i}"}"}")
        fi
    done
}
_olm_flags() {
    case $command in
@FLAGS@
    esac
}
complete -F _olm olm
"""


def script(commands: Sequence[Shape]) -> str:
    """The script for these commands."""
    names = " ".join(name for shape in commands for name in shape.names)
    flags = ["        '') flags='--help --version --debug' ;;"]
    values: list[str] = []
    places = [f"            :*) choices='{names}' ;;"]
    for shape in commands:
        all_flags = " ".join(name for flag in shape.flags for name in flag.names)
        valued = " ".join(n for flag in shape.flags if flag.takes_value for n in flag.names)
        flags.append(f"        {'|'.join(shape.names)}) flags='{all_flags}' valued='{valued}' ;;")
        values += [
            f"            {_either(f'{n}:{w}' for n in shape.names for w in flag.names)}) "
            f"{_assignments(flag.values)} ;;"
            for flag in shape.flags
            if flag.values != NOTHING
        ]
        places += [f"            {pattern}) {text} ;;" for pattern, text in _places(shape)]
    text = _SCRIPT.replace("@FLAGS@", "\n".join(flags)).replace("@VALUES@", "\n".join(values))
    return text.replace("@PLACES@", "\n".join(places))


def _places(shape: Shape) -> Iterator[tuple[str, str]]:
    for verb, values in shape.behind_verbs.items():
        yield _either(f"{name}:2:{verb}" for name in shape.names), _assignments(values)
    for number, values in enumerate(shape.places, start=1):
        place = "*" if number == len(shape.places) else number
        if values != NOTHING:
            yield _either(f"{name}:{place}:*" for name in shape.names), _assignments(values)
        elif number < len(shape.places):
            yield _either(f"{name}:{place}:*" for name in shape.names), ":"


def _either(patterns: Iterator[str] | Sequence[str]) -> str:
    return "|".join(patterns)


def _assignments(values: Values) -> str:
    parts = [
        f"choices='{' '.join(values.words)}'" if values.words else "",
        f"asked={values.asked}" if values.asked else "",
        "files=1" if values.files else "",
    ]
    return " ".join(filter(None, parts))
