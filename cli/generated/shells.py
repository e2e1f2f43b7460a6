"""Completion scripts for bash, zsh and fish: pure functions from the commands' shapes to text."""

from typing import Final

from olmkit.cli.generated.shapes import Flag, Shape, shapes


def script(shell: str) -> str:
    """The completion script for `bash`, `zsh` or `fish`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](shapes())


_BASH: Final = r"""# bash completion for olm; written by `olm completion bash`
_olm() {
    local line=${COMP_LINE:0:COMP_POINT} words cur prev command='' flags='' kinds='' choices='' i
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    cur=${words[-1]} prev=${words[-2]}
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        [[ ${words[i]} == -* ]] || { command=${words[i]}; break; }
    done
    case $command in
@COMMANDS@
    esac
    case $command:$prev in
@CHOICES@
    esac
    [[ $cur == -* ]] && kinds= choices=$flags
    COMPREPLY=($(compgen -W "$choices" -- "$cur"))
    local IFS=$'\n'
    case $kinds in
        models* | running)
            COMPREPLY+=($("${words[0]}" __complete "${kinds%% *}" "$cur" 2> /dev/null)) ;;
    esac
    [[ $kinds == *files ]] && COMPREPLY+=($(compgen -f -- "$cur"))
    # bash takes what follows the last colon for the word.
    if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*:}"}"}")
    fi
}
complete -o default -F _olm olm
"""


def _bash(commands: list[Shape]) -> str:
    names = " ".join(name for shape in commands for name in shape.names)
    words = {"commands": names, "shells": "bash zsh fish"}
    cases = [f"        '') flags='--help --version --debug' choices='{names}' ;;"]
    choices = []
    for shape in commands:
        flags = " ".join(name for flag in shape.flags for name in flag.names)
        known = words.get(shape.arguments)
        rest = f"choices='{known}'" if known else f"kinds='{shape.arguments}'"
        cases.append(f"        {'|'.join(shape.names)}) flags='{flags}' {rest} ;;")
        for flag in shape.flags:
            if flag.choices:
                pattern = "|".join(f"{name}:{word}" for name in shape.names for word in flag.names)
                choices.append(f"        {pattern}) kinds= choices='{' '.join(flag.choices)}' ;;")
    text = _BASH.replace("@COMMANDS@", "\n".join(cases))
    return text.replace("@CHOICES@", "\n".join(choices))


_ZSH: Final = r"""#compdef olm
# zsh completion for olm; written by `olm completion zsh`
_olm_names() {
    local -a names
    names=(${(f)"$(_call_program names olm __complete $1 ${(q)PREFIX} 2> /dev/null)"})
    compadd -a names
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
_ZSH_ARGUMENTS: Final = {
    "models files": "'*:model:{ _olm_names models; _files }'",
    "models": "'*:model:_olm_names models'",
    "running": "'*:model:_olm_names running'",
    "files": "'*:file:_files'",
    "shells": "'1:shell:(bash zsh fish)'",
    "commands": "'1:command:(${commands%%:*})'",
    "": "'*: : '",
}


def _zsh(commands: list[Shape]) -> str:
    rows, cases = [], []
    for shape in commands:
        rows += [f"        {_quoted(f'{name}:{shape.help}')}" for name in shape.names]
        specs = [_zsh_flag(flag) for flag in shape.flags] + [_ZSH_ARGUMENTS[shape.arguments]]
        cases.append(f"        {'|'.join(shape.names)})\n            _arguments -s \\")
        cases.append(" \\\n".join(f"                {spec}" for spec in specs))
        cases.append("            ;;")
    return _ZSH.replace("@COMMANDS@", "\n".join(rows)).replace("@CASES@", "\n".join(cases))


def _zsh_flag(flag: Flag) -> str:
    help_ = flag.help.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = ""
    if flag.takes_value:
        action = "_files" if flag.is_file else f"({' '.join(flag.choices)})"
        value = f":value:{action}" if action != "()" else ":value: "
    others = f"({' '.join(flag.names)})" if len(flag.names) > 1 else ""
    if len(flag.names) == 1:
        return _quoted(f"{flag.names[0]}[{help_}]{value}")
    return f"{_quoted(others)}{{{','.join(flag.names)}}}{_quoted(f'[{help_}]{value}')}"


def _fish(commands: list[Shape]) -> str:
    all_names = " ".join(name for shape in commands for name in shape.names)
    none_yet = "__olm_needs_command"
    lines = [
        "# fish completion for olm; written by `olm completion fish`",
        f"function {none_yet}",
        f"    not __fish_seen_subcommand_from {all_names}",
        "end",
        "complete -c olm -f",
        f"complete -c olm -n {none_yet} -s v -l version -d 'Show the version'",
        f"complete -c olm -n {none_yet} -s h -l help -d 'Show help'",
        f"complete -c olm -n {none_yet} -l debug -d 'Show where an error came from'",
    ]
    for shape in commands:
        for name in shape.names:
            lines.append(f"complete -c olm -n {none_yet} -a {name} -d {_quoted(shape.help)}")
    for shape in commands:
        seen = f"complete -c olm -n '__fish_seen_subcommand_from {' '.join(shape.names)}'"
        lines += [f"{seen} {_fish_flag(flag)}" for flag in shape.flags]
        for kind in shape.arguments.split():
            lines.append(f"{seen} {_fish_arguments(kind, all_names)}")
    return "\n".join(lines) + "\n"


def _fish_flag(flag: Flag) -> str:
    words = [f"-l {name[2:]}" if name[:2] == "--" else f"-s {name[1:]}" for name in flag.names]
    if flag.takes_value:
        words.append("-r" if flag.is_file else "-x")
    if flag.is_file:
        words.append("-F")
    if flag.choices:
        words.append(f"-a {_quoted(' '.join(flag.choices))}")
    return " ".join([*words, f"-d {_quoted(flag.help)}"])


def _fish_arguments(kind: str, all_names: str) -> str:
    match kind:
        case "files":
            return "-F"
        case "shells":
            return "-a 'bash zsh fish'"
        case "commands":
            return f"-a '{all_names}'"
    return f"-a '(olm __complete {kind} (commandline -ct))'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
