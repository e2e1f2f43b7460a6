"""The figures of `olm bench`: medians, spreads, speedups, and how long its requests are."""

import pytest

from olmkit.cli.measuring.benchrun import BenchRun
from olmkit.cli.measuring.benchtable import bench_table, notes
from olmkit.cli.measuring.figures import Figure, figure_from
from olmkit.cli.measuring.workloads import Ask, Sizes, text


def figure(*samples: float, unit: str = "tokens/s") -> Figure:
    return Figure(name="decode", title="decode", streams=4, unit=unit, samples=samples)


def test_one_slow_round_moves_the_spread_and_not_the_median() -> None:
    measured = figure(100, 101, 20)
    assert measured.median == 100
    assert measured.spread == pytest.approx(0.81)
    assert measured.is_noisy
    assert not figure(100, 101, 99).is_noisy


@pytest.mark.parametrize(
    ("unit", "now", "before", "speedup"),
    [("tokens/s", 120, 100, 1.2), ("ms", 50, 100, 2.0), ("ms", 100, 50, 0.5)],
)
def test_a_speedup_over_one_is_better_of_rates_and_of_times(
    unit: str, now: float, before: float, speedup: float
) -> None:
    assert figure(now, unit=unit).speedup_over(figure(before, unit=unit)) == pytest.approx(speedup)


def test_figures_whose_samples_mix_are_within_the_noise() -> None:
    run = BenchRun(rounds=2, figures={"decode_4": figure(100, 110)})
    assert "within the noise" in bench_table(run, {"decode_4": figure(105, 120)})
    assert "slower" in bench_table(run, {"decode_4": figure(130, 140)})
    assert "faster" in bench_table(run, {"decode_4": figure(50, 60)})


def test_a_figure_that_the_other_run_lacks_has_no_speedup() -> None:
    run = BenchRun(rounds=1, figures={"decode_4": figure(100)})
    assert bench_table(run, {}).splitlines()[1].split() == [
        *("decode", "4", "100", "tokens/s", "one", "sample", "-", "-")
    ]


def test_a_run_that_was_cut_short_or_disturbed_says_so() -> None:
    run = BenchRun(rounds=1, figures={"decode_4": figure(100, 50)})
    told = notes(run, wished_rounds=5, time_s=60)
    assert [note.split(" ")[0] for note in told] == ["1", "figures"]
    calm = BenchRun(rounds=2, figures={"decode_4": figure(100, 101)})
    assert notes(calm, wished_rounds=2, time_s=60) == []


def test_a_figure_survives_its_file() -> None:
    before = figure(1.5, 2.5, 3.5)
    after = figure_from(before.as_json())
    assert (after.key, after.unit, after.samples) == (before.key, before.unit, before.samples)
    with pytest.raises(ValueError, match="without samples"):
        figure_from({**before.as_json(), "samples": []})


def test_requests_fit_into_half_of_a_short_context() -> None:
    sizes = Sizes().within(256)
    assert max(sizes.as_json().values()) == 128
    assert Sizes().within(8192) == Sizes()


def test_halving_ends_and_makes_rounds_shorter() -> None:
    rates = {"prompt_rate": 100.0, "answer_rate": 10.0}
    sizes = Sizes()
    while sizes.halved() != sizes:
        assert sizes.halved().round_s(**rates) < sizes.round_s(**rates)
        sizes = sizes.halved()


def test_no_two_prompts_begin_alike_and_those_that_share_do_until_their_end() -> None:
    ask = Ask(model="m", options={})
    prompts = [one["prompt"] for one in ask.prompts("salt", 8, Sizes())]
    assert len({prompt.partition(" ")[0] for prompt in prompts}) == 8
    shared = [one["prompt"] for one in ask.sharing("salt", Sizes())]
    assert len({prompt.partition("Question")[0] for prompt in shared}) == 1
    assert len(set(shared)) == 8
    assert len(text(100, "a").split()) == pytest.approx(91, abs=2)
