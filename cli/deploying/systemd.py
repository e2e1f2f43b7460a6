"""Units of systemd: the daemon as a service, and the socket that starts it.

Source: systemd.service(5), systemd.socket(5), systemd.exec(5).
"""

from collections.abc import Mapping
from pathlib import Path


def service_unit(
    program: Path, variables: Mapping[str, str], *, preload: str = "", has_socket: bool = False
) -> str:
    """The text of a `.service` unit that runs `olm serve`.

    `preload`: a model that is pulled where it is missing, and loaded, before the unit counts as
    started. `has_socket`: a socket unit of the same name starts it.
    """
    lines = [
        "[Unit]",
        "Description=olm, a server of local language models",
        "Documentation=man:olm(1) man:olm-serve(1)",
        *([] if has_socket else ["After=network-online.target", "Wants=network-online.target"]),
        "",
        "[Service]",
        "Type=notify",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in variables.items()),
        f"ExecStart={_word(str(program))} serve",
    ]
    if preload:
        lines += [
            f'ExecStartPost={_word(str(program))} run --keepalive=-1 {_word(preload)} ""',
            "TimeoutStartSec=infinity",
        ]
    lines += [
        "Restart=on-failure",
        "RestartSec=2",
        "TimeoutStopSec=20",
        "NoNewPrivileges=yes",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def socket_unit(address: str) -> str:
    """The text of a `.socket` unit: the first connection starts the service of the same name."""
    return f"""[Unit]
Description=Address of olm, which starts with the first request

[Socket]
ListenStream={address}

[Install]
WantedBy=sockets.target
"""


def _word(text: str) -> str:
    """A word of a command line, in which systemd would replace variables."""
    return _quoted(text).replace("$", "$$")


def _quoted(text: str) -> str:
    """The text as one word, with what systemd would expand everywhere written twice."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    is_safe = plain and all(letter.isalnum() or letter in "-_./:=@+," for letter in plain)
    return plain if is_safe else f'"{plain}"'
