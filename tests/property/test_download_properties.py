"""Who reads which bytes of a blob, under every order of takes, steals, failures and restarts."""

import itertools
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import DataObject

from olmkit.registry.download.segments import MIB, Layout, Segment
from olmkit.registry.store.directio import ALIGNMENT_BYTES
from olmkit.registry.store.ranges import Ranges

SIZES = st.integers(0, 4 * MIB) | st.integers(0, 2000).map(lambda pages: pages * ALIGNMENT_BYTES)


class Blob(RuleBasedStateMachine):
    """A layout, and a set of the aligned pages that are really written."""

    @initialize(size=SIZES, data=st.data())
    def begin(self, size: int, data: DataObject) -> None:
        self.size = size
        self.now_s = 0.0
        self.begin_with(Ranges(_ranges(data, size)))

    def begin_with(self, done: Ranges) -> None:
        self.layout = Layout(self.size, done)
        self.written = {page for start, end in done for page in self.pages(start, end)}
        self.writing: dict[Segment, int] = {}

    def pages(self, start: int, end: int) -> range:
        """Those that lie in the range as a whole; the last of the blob may be short."""
        last = -(-end // ALIGNMENT_BYTES) if end == self.size else end // ALIGNMENT_BYTES
        return range(-(-start // ALIGNMENT_BYTES), last)

    def tick(self, data: DataObject) -> float:
        self.now_s += data.draw(st.floats(0, 3))
        for segment in self.layout.active:
            segment.sample(self.now_s)
        return self.now_s

    @rule(data=st.data(), chunk=st.integers(1, 2 * MIB))
    def take_or_steal(self, data: DataObject, chunk: int) -> None:
        now_s = self.tick(data)
        is_restart = self.layout.is_sequential and not self.layout.active
        segment = self.layout.take(now_s, max(chunk, ALIGNMENT_BYTES))
        if is_restart:
            self.written = {p for p in self.written if p * ALIGNMENT_BYTES < self.prefix()}
        if segment is None and (found := self.layout.slowest(now_s)):
            segment = self.layout.split(found[1], now_s)
        assert segment is None or segment.start < segment.end

    @precondition(lambda self: self.layout.active)
    @rule(data=st.data(), count=st.integers(0, MIB))
    def claim(self, data: DataObject, count: int) -> None:
        segment = data.draw(st.sampled_from(self.layout.active))
        if segment in self.writing:
            return
        at = segment.claimed
        if at + count < self.size:
            count -= count % ALIGNMENT_BYTES
        if claimed := segment.claim(count):
            fresh = set(self.pages(at, at + claimed))
            assert not fresh & self.written, "a page is written twice"
            assert at % ALIGNMENT_BYTES == 0
            assert (at + claimed) % ALIGNMENT_BYTES == 0 or at + claimed == self.size
            self.writing[segment] = claimed

    @precondition(lambda self: self.writing)
    @rule(data=st.data())
    def write(self, data: DataObject) -> None:
        segment = data.draw(st.sampled_from(list(self.writing)))
        count = self.writing.pop(segment)
        self.written |= set(self.pages(segment.position, segment.position + count))
        segment.position += count

    @precondition(lambda self: self.layout.active)
    @rule(data=st.data())
    def give_up(self, data: DataObject) -> None:
        data.draw(st.sampled_from(self.layout.active)).give_up()

    @precondition(lambda self: self.layout.active)
    @rule(data=st.data())
    def finish(self, data: DataObject) -> None:
        segment = data.draw(st.sampled_from(self.layout.active))
        if segment not in self.writing:
            self.layout.finish(segment)

    @rule()
    def be_refused_ranges(self) -> None:
        self.layout.is_sequential = True

    @precondition(lambda self: len(self.layout.active) == 1 and not self.writing)
    @rule()
    def be_sent_everything(self) -> None:
        self.layout.is_sequential = True
        prefix = self.prefix()
        self.layout.restart_sequentially(self.layout.active[0])
        self.written = {p for p in self.written if p * ALIGNMENT_BYTES < prefix}
        assert self.layout.active[0].claimed == prefix

    @rule()
    def die_and_resume(self) -> None:
        self.begin_with(self.layout.done())

    @precondition(lambda self: self.layout.completed_bytes == self.size)
    @rule()
    def be_wrong(self) -> None:
        given_up = [segment.is_given_up for segment in self.layout.active]
        self.layout.forget_all()
        self.written.clear()
        assert [s.is_given_up for s in self.layout.active] == given_up, "it would be replaced"

    def prefix(self) -> int:
        page = 0
        while page in self.written:
            page += 1
        return min(page * ALIGNMENT_BYTES, self.size)

    @invariant()
    def it_knows_what_is_written(self) -> None:
        done = self.layout.done()
        assert {page for start, end in done for page in self.pages(start, end)} == self.written
        assert done.total_bytes == self.layout.completed_bytes
        assert self.layout.prefix_end() == self.prefix() == done.prefix_end

    @invariant()
    def no_two_read_the_same(self) -> None:
        ends = sorted((s.start, s.end) for s in self.layout.active if s.start < s.end)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ends))
        assert all(s.start <= s.position <= s.claimed <= s.end for s in self.layout.active)
        assert all(s.end % ALIGNMENT_BYTES == 0 or s.end == self.size for s in self.layout.active)


def _ranges(data: DataObject, size: int) -> Iterable[tuple[int, int]]:
    """As a journal tells: of any alignment."""
    ends = st.integers(0, size)
    return [(min(a, b), max(a, b)) for a, b in data.draw(st.lists(st.tuples(ends, ends)))]


Blob.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBlob = Blob.TestCase
