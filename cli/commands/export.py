"""`olm export`: a model as a service of something else."""

import enum
import os
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.deploying import containers, systemd
from olmkit.cli.deploying.deployment import Deployment, kept_variables, olm_program
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import load_settings
from olmkit.registry.oci.reference import Reference


class Target(enum.StrEnum):
    """What the printed text is for."""

    SYSTEMD = "systemd"
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    QUADLET = "quadlet"


CONTAINERS = {
    Target.COMPOSE: containers.compose,
    Target.KUBERNETES: containers.kubernetes,
    Target.QUADLET: containers.quadlet,
}


def export(
    model: Annotated[str, Argument(metavar="MODEL", help="Name of a model, as for `olm pull`.")],
    to: Annotated[Target, Option("--to", help="What to print the text for.")],
    image: Annotated[
        str, Option("--image", metavar="IMAGE", help="Container image (docker build -t olm .).")
    ] = "olm",
    port: Annotated[
        int, Option("--port", metavar="PORT", min=1, max=65535, help="Port on this machine.")
    ] = 11434,
) -> None:
    """Print a file that serves a model from login or boot on.

    For systemd a unit that runs this olm with its present settings and this user's models; for
    the others a file that runs a container of olm, which pulls the model into a volume of its own
    first. Ports are published on this machine only. Nothing is written or started.

    Secrets in variables (OLM_API_KEY) are not printed.
    """
    Reference.parse(model)
    deployment = Deployment(model=model, port=port, image=image)
    terminal = Terminal()
    if to is Target.SYSTEMD:
        settings = load_settings(terminal)
        scheme = "https://" if settings.address.scheme == "https" else ""
        variables = {
            **kept_variables(os.environ),
            **settings.path_variables,
            "OLM_HOST": f"{scheme}127.0.0.1:{port}",
        }
        terminal.data(systemd.service_unit(olm_program(), variables, preload=model))
    else:
        terminal.data(CONTAINERS[to](deployment))
