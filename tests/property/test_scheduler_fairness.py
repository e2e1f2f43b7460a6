"""Fairness between callers, whatever they send and when: counted in grants, not in time."""

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.effects import Effect, Grant, Refuse
from olmkit.engine.scheduling.instances import InstanceId, TicketId
from olmkit.engine.scheduling.scheduler import Scheduler

CALLERS = ("", "ann", "bob", "cid")
ENDS = "a lease ends"


class Line:
    """One loaded model with some slots, and who waits for it."""

    def __init__(self, slots: int, longest: int = 10_000) -> None:
        self.scheduler = Scheduler(
            max_loaded=1,
            max_queue=longest,
            max_queue_per_model=longest,
            max_queue_per_key=longest,
            keep_alive_s=1e9,
        )
        self.options = LoadOptions(context_tokens=4096, sequences=slots)
        self.waiting: dict[TicketId, str] = {}
        self.leases: deque[TicketId] = deque()
        self.granted: list[tuple[TicketId, str]] = []
        self.refused: list[tuple[TicketId, str]] = []
        self.tickets = 0
        self.send("")
        self.take(
            self.scheduler.on_loaded(
                InstanceId(1),
                context_tokens=4096,
                trained_context_tokens=4096,
                taken={},
                now_s=0,
            )
        )

    def send(self, caller: str) -> TicketId:
        self.tickets += 1
        ticket = TicketId(self.tickets)
        self.waiting[ticket] = caller
        self.take(
            self.scheduler.on_request(
                ticket, "m", self.options, keep_alive_s=None, caller=caller, now_s=0
            )
        )
        return ticket

    def end(self) -> None:
        self.take(self.scheduler.on_leave(self.leases.popleft(), now_s=0))

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Grant(ticket, _):
                    self.leases.append(ticket)
                    self.granted.append((ticket, self.waiting.pop(ticket)))
                case Refuse(ticket, _):
                    self.refused.append((ticket, self.waiting.pop(ticket)))


EVENTS = st.lists(st.sampled_from([*CALLERS, ENDS]), max_size=120)


@given(events=EVENTS, slots=st.integers(1, 3))
def test_nobody_gets_more_than_two_turns_while_another_waits_for_one(
    events: list[str], slots: int
) -> None:
    line = Line(slots)
    since: dict[str, int] = {}
    """By caller: how many grants there were when its first request began to wait as the first."""

    def look() -> None:
        for caller in CALLERS:
            if caller not in line.waiting.values():
                since.pop(caller, None)
            elif caller not in since:
                since[caller] = len(line.granted)
        for caller, begin in since.items():
            counts = Counter(other for _, other in line.granted[begin:])
            if counts[caller]:  # its turn came: the next one waits from there
                own = max(i for i, (_, c) in enumerate(line.granted) if c == caller)
                since[caller] = own + 1
                counts = Counter(other for _, other in line.granted[own + 1 :])
            assert all(count <= 2 for count in counts.values())

    for event in [*events, *[ENDS] * 200]:
        if event != ENDS:
            line.send(event)
        elif line.leases:
            line.end()
        look()
    assert not line.waiting


@given(events=EVENTS, slots=st.integers(1, 3))
def test_requests_of_one_caller_keep_their_order(events: list[str], slots: int) -> None:
    line = Line(slots)
    for event in [*events, *[ENDS] * 200]:
        if event != ENDS:
            line.send(event)
        elif line.leases:
            line.end()
    for caller in CALLERS:
        tickets = [ticket for ticket, other in line.granted if other == caller]
        assert tickets == sorted(tickets)


@given(st.integers(1, 100), st.integers(1, 3))
def test_a_flood_holds_up_one_request_by_one_turn(flood: int, slots: int) -> None:
    line = Line(slots)
    for _ in range(flood):
        line.send("ann")
    mine = line.send("bob")
    turns = 0
    while mine in line.waiting:
        line.end()
        turns += 1
    assert turns <= 2


@given(events=EVENTS, longest=st.integers(1, 12))
def test_a_full_line_is_shared_evenly(events: list[str], longest: int) -> None:
    """Who is refused has at least as many waiting as anybody else, but for one."""
    line = Line(1, longest)
    for event in events:
        if event == ENDS:
            if line.leases:
                line.end()
            continue
        before = len(line.refused)
        line.send(event)
        assert len(line.waiting) <= longest
        for _, caller in line.refused[before:]:
            counts = Counter(line.waiting.values())
            assert counts[caller] + 1 >= max(counts.values(), default=0)
