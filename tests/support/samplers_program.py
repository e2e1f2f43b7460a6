"""Tokens drawn by olm's chains and by chains as llama.cpp's own server makes them.

A program, for it loads llama.cpp: `samplers_program.py MODEL` prints both as JSON, by case. Both
chains draw from the same outputs, so any difference is one of the chains.
Source: `common_sampler_init` of https://github.com/ggml-org/llama.cpp/blob/master/common/sampling.cpp
"""

import ctypes
import json
import sys
from typing import Any

import llama_cpp as api

from olmkit.engine.runner.bindings import Batch, Context, ContextOptions, Model, initialize
from olmkit.engine.runner.decoding.sampling import SamplerMaker
from olmkit.engine.runner.protocol import Completion, Sampling

TOKENS = 12
PROMPT = "red, green, blue, red, green, blue, red, green,"
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "xtc": {"xtc_probability": 0.7, "xtc_threshold": 0.05},
    "xtc greedy": {"xtc_probability": 1.0, "xtc_threshold": 0.02, "temperature": 0.0},
    "dry": {"dry_multiplier": 2.0, "dry_sequence_breakers": ("\n", ".")},
    "dry and penalties": {"dry_multiplier": 2.0, "repeat_penalty": 1.2, "dry_penalty_last_n": -1},
    "dry greedy": {"dry_multiplier": 3.0, "repeat_penalty": 1.1, "temperature": 0.0},
    "sigma": {"top_n_sigma": 1.0, "temperature": 2.0, "presence_penalty": 0.5},
    "mirostat 1": {"mirostat": 1, "mirostat_tau": 3.0},
    "mirostat 2": {"mirostat": 2, "temperature": 1.5, "repeat_penalty": 1.5},
    "adaptive": {"adaptive_target": 0.3, "adaptive_decay": 0.8, "min_p": 0.02},
    "dynamic temperature": {"dynatemp_range": 0.7, "dynatemp_exponent": 1.5},
    "typical": {"typical_p": 0.6, "top_k": 0},
    "all": {
        "repeat_penalty": 1.1,
        "dry_multiplier": 0.8,
        "top_n_sigma": 3.0,
        "typical_p": 0.9,
        "xtc_probability": 0.3,
        "dynatemp_range": 0.2,
    },
}


def server_chain(model: Model, options: Sampling, context_tokens: int, prompt: list[int]) -> Any:
    """Every sampler in llama-server's order, those that are off as well."""
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())

    def add(one: Any) -> None:
        api.llama_sampler_chain_add(chain, one)

    size, seed = model.vocabulary_tokens, options.seed
    if options.mirostat:
        add(api.llama_sampler_init_temp(options.temperature))
        tau, eta = options.mirostat_tau, options.mirostat_eta
        if options.mirostat == 1:
            add(api.llama_sampler_init_mirostat(size, seed, tau, eta, 100))
        else:
            add(api.llama_sampler_init_mirostat_v2(seed, tau, eta))
        return chain
    breakers = (ctypes.c_char_p * len(options.dry_sequence_breakers))(
        *[one.encode() for one in options.dry_sequence_breakers]
    )
    dry_tokens = context_tokens if options.dry_penalty_last_n < 0 else options.dry_penalty_last_n
    penalties = (options.repeat_penalty, options.frequency_penalty, options.presence_penalty)
    add(api.llama_sampler_init_penalties(size, options.repeat_last_n, *penalties))
    multiplier, base, allowed = (
        options.dry_multiplier,
        options.dry_base,
        options.dry_allowed_length,
    )
    add(
        api.llama_sampler_init_dry(
            model.vocabulary, multiplier, base, allowed, dry_tokens, breakers, len(breakers)
        )
    )
    add(api.llama_sampler_init_top_n_sigma(options.top_n_sigma))
    add(api.llama_sampler_init_top_k(options.top_k))
    add(api.llama_sampler_init_typical(options.typical_p, 0))
    add(api.llama_sampler_init_top_p(options.top_p, 0))
    add(api.llama_sampler_init_min_p(options.min_p, 0))
    add(api.llama_sampler_init_xtc(options.xtc_probability, options.xtc_threshold, 0, seed))
    add(
        api.llama_sampler_init_temp_ext(
            options.temperature, options.dynatemp_range, options.dynatemp_exponent
        )
    )
    if options.adaptive_target >= 0:
        target, decay = options.adaptive_target, options.adaptive_decay
        add(api.llama_sampler_init_adaptive_p(target, decay, seed))
    else:
        add(api.llama_sampler_init_dist(seed))
    for token in prompt:
        api.llama_sampler_accept(chain, token)
    return chain


def draw_both(model: Model, context: Context, options: Sampling) -> dict[str, list[int]]:
    """The tokens of both chains; the text goes on with those of olm's."""
    tokens = model.tokenize(PROMPT, add_special=True, parse_special=False)
    request = Completion(id=1, prompt="", sampling=options)
    ours = SamplerMaker(model).sampler(request, tokens, context.options.context_tokens)
    theirs = server_chain(model, options, context.options.context_tokens, tokens)
    context.clear_memory()
    batch, held = Batch(64), 0
    drawn: dict[str, list[int]] = {"olm": [], "server": []}
    for _ in range(TOKENS):
        batch.clear()
        index = batch.add(tokens[held:], position=held, sequence=0, outputs=1)
        assert context.decode(batch) == 0
        held = len(tokens)
        drawn["olm"].append(ours.sample(context, index))
        drawn["server"].append(api.llama_sampler_sample(theirs, context.handle, index))
        tokens.append(drawn["olm"][-1])
    return drawn


def main() -> None:
    """Draw all cases with one seed."""
    initialize()
    model = Model(sys.argv[1])
    limits = ContextOptions(context_tokens=256, batch_tokens=64, sequences=1, threads=1)
    context = Context(model, limits)
    found = {
        name: draw_both(model, context, Sampling(**{"seed": 11, **options}))
        for name, options in CASES.items()
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
