"""The manual page olm.toml(5), from the settings that the engine reads."""

from olmkit.cli.generated.environment import VARIABLES
from olmkit.cli.generated.roff import definitions, escaped, head
from olmkit.engine.configuration.configfiles import PROJECT_KEYS
from olmkit.engine.settings import Settings

_EXAMPLE = """# ~/.config/olm/olm.toml
keep_alive = "30m"              # a duration
num_parallel = 8                # a number
cache_disk = "20G"              # bytes
hosts = ["lab.example"]         # a list
noprune = true"""


_WHAT = """Files of lines
.IR "key = value" ,
in TOML 1.0. Each key is the name of a variable that
.BR olm (1)
lists, without OLM_ and in small letters. What wins, from the strongest: flags of a command, OLM_
variables, their OLLAMA_ twins, the file of the project, that of the user, that of the system, the
default.
.PP
.BR olm\\-config (1)
shows what counts and where it comes from, and changes files line by line."""

_FILES = {
    "olm.toml": "of a project: the nearest one from the present directory upwards, as far as the "
    "repository (the directory with .git in it) or the file system goes. In a directory in which "
    "everybody may write, such as /tmp, only one's own counts.",
    "~/.config/olm/olm.toml": "of the user; below XDG_CONFIG_HOME where that is set. OLM_CONFIG "
    "names another file instead; /dev/null is none.",
    "/etc/olm/olm.toml": "of the system, for all users.",
}

_PROJECT = """The file of a project comes with what was cloned or unpacked, from people who need not
be trusted. So it may set only how its own questions are asked: @KEYS@. It can turn nohistory on
and not off. Another key there is an error. It holds no secrets, and names no hosts, paths or
programs. It counts for
.BR olm\\-run (1)
and
.BR olm\\-test (1),
which send it with each question; the daemon serves all projects and reads none of their files."""

_ERRORS = """A key that there is not, a value of another kind and a file that is no TOML end the
command with exit status 2; the message names file and line. The daemon reads the files of user
and system when it starts, and does not start with a wrong one."""


def config_page() -> str:
    """The page in the macros of man(7)."""
    readings = Settings.from_environment({"HOME": "/"}).readings.values()
    rows = {
        reading.key: f"{VARIABLES[reading.variable]}. It takes "
        f"{', '.join(reading.choices) or reading.kind}."
        for reading in readings
    }
    keys = escaped(", ".join(sorted(PROJECT_KEYS)))
    parts = [
        head("olm.toml", "settings of olm, in files", section=5),
        ".SH SYNOPSIS\n.nf\n/etc/olm/olm.toml\n~/.config/olm/olm.toml\nolm.toml\n.fi",
        f".SH DESCRIPTION\n{_WHAT}",
        definitions("FILES", _FILES),
        ".SH WHAT A PROJECT MAY SET\n" + _PROJECT.replace("@KEYS@", keys),
        f".SH ERRORS\n{_ERRORS}",
        definitions("SETTINGS", rows),
        f".SH EXAMPLE\n.nf\n{escaped(_EXAMPLE)}\n.fi",
        ".SH SEE ALSO\n.BR olm\\-config (1),\n.BR olm (1)",
    ]
    return "\n".join(parts) + "\n"
