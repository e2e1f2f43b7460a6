"""The examination behind `olm doctor`: facts, a trial of the engine beside them, and verdicts."""

import threading
import time
from collections.abc import Mapping

from olmkit.engine.diagnosis.factsheet import ENGINE_S, gather
from olmkit.engine.diagnosis.verdicts import Check, checks
from olmkit.engine.runner.selftest.proof import Proof, prove
from olmkit.engine.settings import Settings


def examine(settings: Settings, environ: Mapping[str, str]) -> list[Check]:
    """All checks of this installation; `environ`: where `settings` are from.

    It takes about a second, and no longer than `ENGINE_S` where the engine hangs. A trial that
    takes longer tells nothing: cards may compile their first kernels for minutes.
    """
    until_s = time.monotonic() + ENGINE_S
    proofs: list[Proof | None] = []
    trial = threading.Thread(target=lambda: proofs.append(_try_out(environ)), daemon=True)
    trial.start()
    sheet = gather(settings, environ)
    trial.join(max(0.0, until_s - time.monotonic()))
    proof = proofs[0] if proofs else None
    if proof is None:
        return checks(sheet)
    return checks(sheet, is_tried=True, proof_failure=proof.failure or "")


def _try_out(environ: Mapping[str, str]) -> Proof | None:
    """How a tiny model ran; None where it did not end in time."""
    proof = prove(environ=environ, timeout_s=ENGINE_S)
    return None if proof.is_late else proof
