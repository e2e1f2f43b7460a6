import math
from typing import Any

import pytest

from olmkit.engine.errors import InvalidRequest
from olmkit.engine.models.options import LoadDefaults, Options, coerce, parse_keep_alive
from olmkit.engine.runner.protocol import Sampling


def test_later_layers_win_and_null_leaves_a_value_as_it_is() -> None:
    options = Options.layered(
        {"temperature": 0.5, "stop": ["a"], "seed": 1}, {"temperature": 1, "seed": None}
    )
    assert options.sampling.temperature == 1.0
    assert options.sampling.seed == 1
    assert options.stop == ("a",)


def test_defaults_are_ollamas() -> None:
    sampling = Options().sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.8, 40, 0.9)
    assert (sampling.repeat_penalty, sampling.repeat_last_n, sampling.seed) == (1.0, 64, -1)
    assert Options().max_tokens == -1


def test_a_runner_asked_without_options_samples_as_the_table_of_parameters_says() -> None:
    assert Options().sampling == Sampling()


def test_integers_take_any_number_and_drop_the_fraction() -> None:
    assert coerce({"num_ctx": 4096.7, "top_k": 3.9, "num_gpu": -1.5}) == {
        "num_ctx": 4096,
        "top_k": 3,
        "num_gpu": -1,
    }


@pytest.mark.parametrize(
    "name", ["tfs_z", "penalize_newline", "numa", "low_vram", "f16_kv", "brand_new"]
)
def test_removed_and_unknown_options_are_ignored(name: str) -> None:
    assert coerce({name: "anything"}) == {}


def test_samplers_reach_the_runner() -> None:
    given = {"mirostat": 2, "mirostat_tau": 3, "dry_sequence_breakers": ";", "xtc_probability": 1}
    sampling = Options.layered(given).sampling
    assert (sampling.mirostat, sampling.mirostat_tau, sampling.xtc_probability) == (2, 3.0, 1.0)
    assert sampling.dry_sequence_breakers == (";",)
    assert Options.layered({"dry_sequence_breakers": []}).sampling.dry_sequence_breakers == ()


def test_adapters_are_as_strong_as_asked_for() -> None:
    assert Options().adapter_scale == 1.0
    assert Options.layered({"adapter_scale": 0.5}, {"adapter_scale": 2}).adapter_scale == 2.0
    with pytest.raises(InvalidRequest, match="must be -16 to 16"):
        coerce({"adapter_scale": -17})


def test_a_bare_stop_string_is_a_list_of_one() -> None:
    assert coerce({"stop": "x"}) == {"stop": ("x",)}
    assert coerce({"stop": ["x", "", "y"]}) == {"stop": ("x", "y")}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"temperature": True}, 'option "temperature" must be of type float32'),
        ({"temperature": math.inf}, 'option "temperature" must be of type float32'),
        ({"num_ctx": "4096"}, 'option "num_ctx" must be of type integer'),
        ({"num_ctx": False}, 'option "num_ctx" must be of type integer'),
        ({"stop": 3}, 'option "stop" must be of type array'),
        ({"stop": ["a", 3]}, 'option "stop" must be of an array of strings'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"num_ctx": 2**40}, 'option "num_ctx" is out of range: 1099511627776'),
        ({"num_ctx": -5}, 'option "num_ctx" must be at least 0, not -5'),
        ({"num_thread": 10_000}, 'option "num_thread" must be at most 512, not 10000'),
        ({"stop": ["a"] * 257}, 'option "stop" takes 256 texts, together 16384 characters'),
        ({"stop": "a" * 20_000}, 'option "stop" takes 256 texts, together 16384 characters'),
        ({"mirostat": 3}, 'option "mirostat" must be 0 to 2, not 3'),
        ({"xtc_threshold": -0.1}, 'option "xtc_threshold" must be 0 to 1, not -0.1'),
        ({"dry_multiplier": "2"}, 'option "dry_multiplier" must be of type float32'),
        (
            {"dry_sequence_breakers": ["a"] * 17},
            'option "dry_sequence_breakers" takes 16 texts, together 256 characters',
        ),
        ({"num_ctx": 1e300}, f'option "num_ctx" is out of range: {int(1e300)}'),
    ],
)
def test_a_wrong_value_names_its_option(given: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        coerce(given)
    assert str(caught.value) == text
    assert caught.value.field == next(iter(given))


def test_load_options_come_from_the_request_then_the_settings() -> None:
    defaults = LoadDefaults(context_tokens=2048, sequences=2, kv_cache_type="q8_0")
    load = Options.layered({"num_gpu": 0, "use_mmap": False}).load_options(
        defaults, embedding=False
    )
    assert (load.context_tokens, load.sequences, load.kv_cache_type) == (2048, 2, "q8_0")
    assert (load.gpu_layers, load.use_mmap, load.batch_tokens) == (0, False, 0)
    asked = Options.layered({"num_ctx": 512}).load_options(defaults, embedding=True)
    assert (asked.context_tokens, asked.embedding, asked.batch_tokens) == (512, True, 2048)
    assert Options().load_options(LoadDefaults(), embedding=False).context_tokens == 0
    named = Options.layered({"num_batch": 64}).load_options(defaults, embedding=True)
    assert named.batch_tokens == 64


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (1.5, 1.5),
        (-1, math.inf),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("0", 0.0),
        ("-1m", math.inf),
    ],
)
def test_keep_alive_is_seconds_or_a_go_duration(given: Any, seconds: float | None) -> None:
    assert parse_keep_alive(given) == seconds


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("abc", 'time: invalid duration "abc"'),
        ("300", 'time: missing unit in duration "300"'),
        (True, "Unsupported type: 'bool'"),
    ],
)
def test_a_bad_keep_alive_is_refused_in_ollamas_words(given: Any, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_keep_alive(given)
    assert str(caught.value) == text


def test_only_a_request_lets_an_answer_go_on_past_its_end() -> None:
    assert Options.layered({}, {"ignore_eos": True}).ignores_end
    assert not Options.layered({"ignore_eos": True}, {"ignore_eos": False}).ignores_end
    with pytest.raises(InvalidRequest, match="ignore_eos"):
        Options.layered({"ignore_eos": "yes"})
