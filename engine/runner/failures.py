"""The one exception by which a part of the runner ends a request."""

from olmkit.engine.runner.protocol import Failed, FailureKind


class RequestFailed(Exception):
    """This request cannot be served; the runner and all other requests go on.

    `str(error)` is one sentence for the user, lower case, no full stop.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        given_tokens: int | None = None,
        limit_tokens: int | None = None,
        device: str = "",
    ) -> None:
        super().__init__(message)
        self.device = device
        self.kind = kind
        self.input_index: int | None = None
        """Which of several inputs is at fault; see `Failed`."""
        self.given_tokens = given_tokens
        self.limit_tokens = limit_tokens

    def reply(self, request_id: int) -> Failed:
        """The frame that tells the daemon."""
        return Failed(
            id=request_id,
            kind=self.kind,
            message=str(self),
            given_tokens=self.given_tokens,
            limit_tokens=self.limit_tokens,
            device=self.device,
            input_index=self.input_index,
        )


def context_exceeded(given_tokens: int, limit_tokens: int) -> RequestFailed:
    """The failure of an input that does not fit, with both numbers."""
    return RequestFailed(
        FailureKind.CONTEXT_EXCEEDED,
        f"the prompt has {given_tokens} tokens, the context holds {limit_tokens}",
        given_tokens=given_tokens,
        limit_tokens=limit_tokens,
    )
