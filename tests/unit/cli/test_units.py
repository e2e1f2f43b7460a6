from datetime import UTC, datetime, timedelta

import pytest

from olmkit.cli.screen.units import (
    age_text,
    count_text,
    duration_text,
    eta_text,
    size_text,
    span_text,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (1024, "1.0 KB"),
        (1500, "1.5 KB"),
        (999_999, "999 KB"),
        (4_683_073_184, "4.7 GB"),
        (42_500_000_000, "42 GB"),
        (1_999_999_999_999, "2.0 TB"),
    ],
)
def test_sizes_are_decimal_with_one_place_below_ten(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999"),
        (1000, "1K"),
        (133_700_000, "133.70M"),
        (125_000_000, "125M"),
        (2_900_000_000, "2.9B"),
        (7_000_000_000, "7B"),
        (10**12, "1000B"),
    ],
)
def test_parameter_counts(count: int, text: str) -> None:
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"),
        (1.9, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (47.4 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_spans_round_hours_and_cut_the_rest(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_ages_point_both_ways_and_end_in_forever() -> None:
    assert age_text(NOW - timedelta(hours=24), NOW) == "24 hours ago"
    assert age_text(NOW + timedelta(minutes=4, seconds=59), NOW) == "4 minutes from now"
    assert age_text(NOW + timedelta(days=365 * 20 + 364), NOW) == "20 years from now"
    assert age_text(NOW + timedelta(days=365 * 21), NOW) == "Forever"
    assert age_text(datetime(1, 1, 1, tzinfo=UTC), NOW) == "Never"
    assert age_text(None, NOW, "Stopping...") == "Stopping..."


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (999, "999ns"),
        (1500, "1.5µs"),
        (12_345_678, "12.345678ms"),
        (4_200_000_000, "4.2s"),
        (123 * 10**9, "2m3s"),
        (3605 * 10**9 + 500_000_000, "1h0m5.5s"),
        (-(10**6), "-1ms"),
    ],
)
def test_durations_are_written_as_go_writes_them(nanoseconds: int, text: str) -> None:
    assert duration_text(nanoseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12, "12s"), (343, "5m43s"), (12000, "3h20m"), (360_000, "99h+")],
)
def test_time_left(seconds: int, text: str) -> None:
    assert eta_text(timedelta(seconds=seconds)) == text
