"""GET /healthz and /readyz: for Docker's HEALTHCHECK, Kubernetes' probes, load balancers.

Source: https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.operations.readiness import OK
from olmkit.engine.api.state import api_of
from olmkit.engine.api.streams import json_reply


async def healthz(request: Request) -> Response:
    """That the daemon answers: if it does not, starting it again is what helps."""
    return json_reply({"status": OK})


async def readyz(request: Request) -> Response:
    """Whether the daemon can answer requests for models, and what is missing; 503 where it cannot.

    The engine is tried in a child process when somebody asks for the first time.
    """
    states = await api_of(request).readiness.states()
    is_ready = all(state == OK for state in states.values())
    said = {"status": "ready" if is_ready else "not ready", "checks": states}
    return json_reply(said, status=200 if is_ready else 503)
