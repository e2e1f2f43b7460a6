"""What can be known of a daemon that does not run."""

from olmkit.engine.settings import Settings
from olmkit.registry.store.nametree import stored_names


def stored_models(settings: Settings) -> list[str]:
    """The names in the store of this machine, their manifests unread.

    Raises:
        StoreError: the store cannot be read.
    """
    return sorted(reference.short for reference in stored_names(settings.models / "manifests"))
