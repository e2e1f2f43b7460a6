"""How the tokens of one answer are chosen. A part of the messages in `protocol.py`."""

import msgspec


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling options of one request; names and defaults are those of modelfile/parameters.py."""

    seed: int = -1
    """-1: random."""
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    """Tokens looked back on for penalties; 0: off, -1: the whole context."""
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    """Tokens looked back on for repeated phrases; 0: off, -1: the whole context."""
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    """Texts over which no phrase goes."""
    top_n_sigma: float = -1.0
    mirostat: int = 0
    """The algorithm's version; with 1 and 2 the other samplers but bias and temperature rest."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_target: float = -1.0
    adaptive_decay: float = 0.9
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
