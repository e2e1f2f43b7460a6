"""How much a process gives up."""

import enum


class Confinement(enum.StrEnum):
    """How much a runner gives up."""

    FULL = "full"
    NETWORK = "network"
    """All but the network, which devices of other machines need."""
    OFF = "off"
