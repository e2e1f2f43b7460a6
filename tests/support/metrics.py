"""What /metrics says, read by Prometheus' own parser."""

from prometheus_client.parser import text_string_to_metric_families

from support.api import Api

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(api: Api) -> Series:
    """The value of each series, by its name and labels."""
    answer = api.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.body.decode())


def parse(text: str) -> Series:
    found: Series = {}
    for family in text_string_to_metric_families(text):
        assert family.type != "unknown", family.name
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} occurs twice"
            found[key] = sample.value
    return found


def value(series: Series, name: str, **labels: str) -> float:
    """The value of one series; 0 while there is none."""
    return series.get((name, frozenset(labels.items())), 0.0)


def grown(before: Series, after: Series, name: str, **labels: str) -> float:
    """By how much a series has grown."""
    return value(after, name, **labels) - value(before, name, **labels)
