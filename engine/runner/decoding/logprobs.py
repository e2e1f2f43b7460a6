"""Log-probabilities of a sampled token and of its likeliest rivals, from the raw logits.

numpy is imported at the first request that asks for them: the runner needs it for nothing else.
"""

from olmkit.engine.runner.bindings import Context, Model
from olmkit.engine.runner.protocol import TokenLogprob


def token_logprobs(
    model: Model, context: Context, index: int, token: int, top: int
) -> TokenLogprob:
    """Log-probabilities (natural logarithms) of a token in the model's own distribution.

    `index` is the output's place in the batch that was decoded last; `top` is how many of the
    likeliest tokens to add, in falling order.
    """
    import numpy as np

    logits = np.frombuffer(context.logits(index), dtype=np.float32)
    peak = float(logits.max())
    log_sum = peak + float(np.log(np.exp(logits - peak, dtype=np.float32).sum(dtype=np.float64)))
    count = min(top, len(logits))
    rivals: list[int] = []
    if count > 0:
        best = np.argpartition(logits, -count)[-count:]
        rivals = best[np.argsort(-logits[best], kind="stable")].tolist()

    def entry(candidate: int, rest: list[TokenLogprob]) -> TokenLogprob:
        raw = model.piece(candidate, special=True)
        logprob = float(logits[candidate]) - log_sum
        text = raw.decode(errors="replace")
        return TokenLogprob(token=text, raw=raw, logprob=logprob, top=rest)

    return entry(token, [entry(rival, []) for rival in rivals])
