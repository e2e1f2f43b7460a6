"""What a key may do, and what each kind of request asks for."""

import enum
from collections.abc import Iterable
from typing import Final


class Scope(enum.StrEnum):
    """What a key is good for."""

    INFER = "infer"
    """Answers, embeddings and tokens, and the lists that clients need for them."""
    READ = "read"
    """Lists, what is known of models, what is loaded, metrics."""
    MANAGE = "manage"
    """Everything."""


class Need(enum.Enum):
    """What a route asks of a key; one of these scopes has to be among the key's."""

    NOTHING = ()
    """Open to everybody: signs of life."""
    LIST = (Scope.INFER, Scope.READ, Scope.MANAGE)
    READ = (Scope.READ, Scope.MANAGE)
    INFER = (Scope.INFER, Scope.MANAGE)
    MANAGE = (Scope.MANAGE,)

    def is_met_by(self, scopes: Iterable[Scope]) -> bool:
        """Whether a key with these scopes may."""
        return self is Need.NOTHING or any(scope in self.value for scope in scopes)


RATED: Final = frozenset({Need.INFER})
"""What counts towards a key's rate: the requests that keep a model busy."""
