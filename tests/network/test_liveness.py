import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow_supervisor.network.liveness import Deadlock, Needs, find_deadlocks


def every(**ports):
    return Needs({port: fed_by.split() for port, fed_by in ports.items()}, every=True)


def any_of(**ports):
    return Needs({port: fed_by.split() for port, fed_by in ports.items()}, every=False)


START = Needs({}, every=False)


@pytest.mark.parametrize(
    "needs",
    [
        {},
        {"a": START},
        {"a": START, "b": every(x="a"), "c": every(x="b", y="a")},
        # A cycle that is entered from outside, by a node that takes what comes.
        {"a": START, "b": any_of(x="a", back="c"), "c": every(x="b")},
        # Two feeders at one port: one of them can run.
        {"a": START, "b": every(x="a c"), "c": every(x="b")},
    ],
)
def test_what_can_run(needs):
    assert find_deadlocks(needs) == []


def test_a_node_that_awaits_its_own_output():
    needs = {"a": START, "b": every(x="a", back="b")}
    assert find_deadlocks(needs) == [Deadlock({"b": ("back",)}, ("b", "b"))]


def test_a_node_that_awaits_its_cycle():
    needs = {"a": START, "join": every(x="a", back="w"), "v": any_of(x="join"), "w": every(x="v")}
    assert find_deadlocks(needs) == [Deadlock({"join": ("back",), "w": ("x",)}, ("join", "v", "w", "join"))]


def test_the_shortest_way_around_is_named():
    needs = {"a": every(x="b c"), "b": any_of(x="a"), "c": any_of(x="d"), "d": any_of(x="a")}
    assert find_deadlocks(needs) == [Deadlock({"a": ("x",)}, ("a", "b", "a"))]


def test_a_cycle_that_nothing_starts():
    needs = {"a": any_of(x="b"), "b": any_of(x="a")}
    assert find_deadlocks(needs) == [Deadlock({}, ("a", "b", "a"))]


def test_what_hangs_behind_a_cycle_is_not_blamed():
    needs = {"a": every(x="a"), "b": every(x="a"), "c": every(x="c b"), "d": any_of(x="c")}
    assert find_deadlocks(needs) == [Deadlock({"a": ("x",)}, ("a", "a"))]


def test_two_cycles_are_two_findings():
    needs = {"a": every(x="b"), "b": every(x="a"), "c": every(x="d"), "d": every(x="c")}
    assert [set(d.waiting) for d in find_deadlocks(needs)] == [{"a", "b"}, {"c", "d"}]


@pytest.mark.slow
def test_ten_thousand_nodes():
    chain = {"n0": START, **{f"n{i}": every(x=f"n{i - 1}") for i in range(1, 10_000)}}
    assert find_deadlocks(chain) == []
    (ring,) = find_deadlocks({**chain, "n0": every(x="n9999")})
    assert len(ring.cycle) == 10_001


names = st.sampled_from("abcde")
feeders = st.lists(names, min_size=1, max_size=2)
networks = st.fixed_dictionaries(
    {name: st.builds(Needs, st.dictionaries(st.sampled_from("xy"), feeders), st.booleans()) for name in "abcde"}
)


@given(networks)
@settings(max_examples=100)
def test_a_deadlock_is_found_exactly_where_there_is_one(needs):
    """The model: let every node that can run do so, again and again, until nothing changes."""
    ran = set()
    while True:
        able = {
            node
            for node, need in needs.items()
            if not need.ports or (all if need.every else any)(set(fed) & ran for fed in need.ports.values())
        }
        if able == ran:
            break
        ran = able
    deadlocks = find_deadlocks(needs)
    assert bool(deadlocks) == (ran != needs.keys())
    for deadlock in deadlocks:
        assert not ran & set(deadlock.cycle)
        assert deadlock.cycle[0] == deadlock.cycle[-1]
        for source, target in zip(deadlock.cycle, deadlock.cycle[1:], strict=False):
            assert any(source in fed for fed in needs[target].ports.values())
        for node, ports in deadlock.waiting.items():
            assert ports
            assert all(not set(needs[node].ports[port]) & ran for port in ports)
