"""`olm login`: keeps the credentials of a registry where Docker keeps them."""

import getpass
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.errors import CliError, UsageError
from olmkit.cli.flags import Insecure
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import load_settings
from olmkit.registry.http.credentials import DOCKER_HUB, Credential, login_host

PASSWORD_LIMIT_BYTES = 64 << 10


def login(
    server: Annotated[
        str, Argument(metavar="[SERVER]", help="A registry, `docker.io` if left out.")
    ] = DOCKER_HUB,
    username: Annotated[str, Option("-u", "--username", metavar="NAME", help="User name.")] = "",
    password: Annotated[
        str,
        Option(
            "-p",
            "--password",
            metavar="TEXT",
            help="Password; others can see it. `-` is the same as --password-stdin.",
        ),
    ] = "",
    password_stdin: Annotated[
        bool, Option("--password-stdin", help="Take the password from standard input.")
    ] = False,
    insecure: Insecure = False,
) -> None:
    """Log in to a registry.

    The registry checks the credentials first. They are kept in Docker's config.json or by the
    credential helper that it names, so that a login with Docker or Podman counts as well.
    """
    terminal = Terminal()
    if password == "-":
        password, password_stdin = "", True
    if password_stdin and password:
        raise UsageError("conflicting options: cannot specify both --password and --password-stdin")
    if password_stdin and not username:
        raise UsageError("the --password-stdin option requires --username to be set")
    if password:
        terminal.message(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n"
        )
    host = login_host(server)
    credential = Credential(
        username=username or _asked_name(terminal, host),
        secret=_from_stdin(terminal) if password_stdin else password or _asked_password(terminal),
    )
    remotes = load_settings(terminal).remotes
    from olmkit.registry.http.remote import check_login

    check_login(host, credential, remotes.access(), insecure=insecure)
    if remotes.credentials.save(host, credential) is None:
        terminal.message(
            f"WARNING! Your credentials are stored unencrypted in '{remotes.docker_config}'.\n"
            "Configure a credential helper to remove this warning. See\n"
            "https://docs.docker.com/go/credential-store/\n"
        )
    terminal.data("Login Succeeded\n")


def _asked_name(terminal: Terminal, host: str) -> str:
    _require_terminal(terminal)
    terminal.message(f"Username for {host}: ")
    name = terminal.stdin.readline().strip()
    if not name:
        raise UsageError("a user name is needed")
    return name


def _asked_password(terminal: Terminal) -> str:
    _require_terminal(terminal)
    secret = getpass.getpass("Password: ", stream=terminal.stderr)
    if not secret:
        raise UsageError("a password is needed")
    return secret


def _require_terminal(terminal: Terminal) -> None:
    if terminal.has_input:
        raise CliError(
            "cannot perform an interactive login from a non TTY device",
            hint="use --username and --password-stdin",
        )


def _from_stdin(terminal: Terminal) -> str:
    """All of stdin without one line end (docker/cli, `login`)."""
    raw = terminal.stdin.buffer.read(PASSWORD_LIMIT_BYTES)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise UsageError("the password is not UTF-8") from error
    for end in ("\r\n", "\n", "\r"):
        if text.endswith(end):
            text = text.removesuffix(end)
            break
    if not text:
        raise UsageError("a password is needed")
    return text
