"""Metrics as text: what Prometheus' own parser reads, and never more series than are bounded."""

from olmkit.engine.errors import DaemonError
from olmkit.engine.telemetry.metrics import MOST_MODELS, Metrics, end_of
from olmkit.engine.telemetry.series import MOST_SERIES, Counter, Histogram, gauge_text
from support.metrics import parse, value


def test_labels_of_any_text_are_read_back() -> None:
    counter = Counter("olm_x_total", "Things.", ("model", "end"))
    odd = 'a"b\\c\nd{}=, é'
    counter.of(odd, "stop").add(2)
    counter.of(odd, "stop").add(0.5)
    assert value(parse(counter.text()), "olm_x_total", model=odd, end="stop") == 2.5


def test_buckets_hold_all_values_up_to_their_bound() -> None:
    histogram = Histogram("olm_t_seconds", "Times.", bounds=(0.1, 1, 10))
    for each in (0.05, 0.1, 0.5, 1, 99):
        histogram.of().observe(each)
    series = parse(histogram.text())
    counts = [value(series, "olm_t_seconds_bucket", le=end) for end in ("0.1", "1", "10", "+Inf")]
    assert counts == [2, 4, 4, 5]
    assert value(series, "olm_t_seconds_count") == 5
    assert value(series, "olm_t_seconds_sum") == 100.65


def test_a_family_has_a_bounded_number_of_series() -> None:
    counter = Counter("olm_x_total", "Things.", ("route", "method"))
    for number in range(MOST_SERIES + 50):
        counter.of(str(number), "GET").add()
    series = parse(counter.text())
    assert len(series) == MOST_SERIES + 1
    assert value(series, "olm_x_total", route="other", method="other") == 50


def test_models_beyond_the_bound_share_one_label() -> None:
    metrics = Metrics()
    labels = {metrics.model(f"hostile-{number}") for number in range(5 * MOST_MODELS)}
    assert len(labels) == MOST_MODELS + 1
    assert metrics.model("hostile-0") == "hostile-0"
    assert metrics.model("another") == "other"
    assert metrics.method("BREW") == "other"


def test_an_end_by_an_error_has_the_errors_name() -> None:
    assert end_of(DaemonError("x")) == "daemon_error"


def test_an_empty_scrape_is_one_too() -> None:
    assert parse(Metrics().text((gauge_text("olm_y", "Now.", [({}, 1e18)]),))) == {
        ("olm_y", frozenset()): 1e18
    }
