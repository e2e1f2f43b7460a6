"""What this daemon's policy asks of models that are to come into its store."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from olmkit.engine.api.state import Api
from olmkit.registry.oci.reference import Reference

if TYPE_CHECKING:  # cryptography, which comes with the first policy
    from olmkit.registry.signatures.policy import Rule


def policy_rules(api: Api) -> "Callable[[Reference], tuple[Rule, ...]] | None":
    """Function that tells what the policy asks of a model; None: there is no policy.

    The file is read each time that this is called, so that a change counts at once.

    Raises:
        InvalidPolicy: it cannot be read; nothing is let in then.
    """
    path = api.services.settings.policy
    if path is None:
        return None
    from olmkit.registry.signatures.policy import read_policy

    policy = read_policy(path)
    return lambda reference: (policy.rule_for(reference),)
