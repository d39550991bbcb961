"""The stream of a space: made, kept as the settings say, told from another of its name, refused where it is unsafe."""

from __future__ import annotations

import pytest
from jskit import NETWORK, ORIGIN, connected, settings
from natskit import Servers
from nodekit import run

from mycelium.errors import BrokerError, BrokerUnsafe, StreamGone
from mycelium.jetstream import streams
from mycelium.jetstream.layout import Network
from mycelium.jetstream.streams import StreamState

NAME = NETWORK.stream("main")


def test_names_are_of_one_network_and_space():
    assert NAME == "MYC-7-00010203-main"
    assert NETWORK.space_of(NETWORK.stream("a.b_c")) == "a.b_c"
    assert NETWORK.space_of(Network(8, NETWORK.genesis).stream("main")) is None
    assert NETWORK.subject("a.b", ORIGIN, 1) == "myc.7.00010203.a~b.aaaaaaaaaaaaaaaa.0000000000000001"
    assert NETWORK.snapshots("a.b") == "MYC-7-00010203-aDOTb-snap"


@pytest.fixture(scope="module")
def nats(tmp_path_factory):
    with Servers.of(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture(autouse=True)
def clean(nats):
    yield

    async def main():
        async with connected(nats) as session:
            for name in (await session.api("STREAM.NAMES")).get("streams") or []:
                await session.api(f"STREAM.DELETE.{name}")

    run(main())


def test_it_is_made_once_as_the_settings_say(nats):
    wanted = settings(
        nats, keep_hours=2, keep_bytes=10**6, keep_messages=100, discard="new", duplicate_window_s=60
    )

    async def main():
        async with connected(nats) as session:
            with pytest.raises(StreamGone):
                await streams.look(session, NAME)
            made = await streams.ensure(session, NETWORK, "main", wanted)
            again = await streams.ensure(session, NETWORK, "main", wanted)
            assert (again.created, again.config) == (made.created, made.config)
            assert (made.messages, made.first_seq, made.last_seq, made.first_time) == (0, 1, 0, "")
            config = made.config
            assert config["subjects"] == ["myc.7.00010203.main.>"]
            assert config["max_age"] == 2 * 3600 * 10**9
            assert (config["max_bytes"], config["max_msgs"], config["discard"]) == (10**6, 100, "new")
            assert config["storage"] == "file"
            await session.js.publish(NETWORK.subject("main", ORIGIN, 1), b"x")
            look = await streams.look(session, NAME)
            assert (look.messages, look.first_seq, look.last_seq) == (1, 1, 1)
            assert look.first_time == look.last_time != ""
            assert look.peers == (("n0", True),)

    run(main())


def test_settings_that_were_changed_are_changed_back_and_what_is_not_ours_stays(nats, caplog):
    async def main():
        async with connected(nats) as session:
            made = await streams.ensure(session, NETWORK, "main", settings(nats))
            changed = {
                **made.config,
                "max_msgs": 5,
                "discard": "new",
                "description": "mine",
                "metadata": {"a": "b"},
            }
            await session.api(f"STREAM.UPDATE.{NAME}", changed)
            mended = await streams.ensure(session, NETWORK, "main", settings(nats))
            assert mended.config["max_msgs"] == -1
            assert mended.config["discard"] == "old"
            assert mended.config["description"] == "mine"
            assert mended.config["metadata"]["a"] == "b"
            assert mended.created == made.created
            assert "discard, max_msgs" in caplog.text

    run(main())


def test_one_that_was_made_anew_is_another(nats):
    async def main():
        async with connected(nats) as session:
            first = await streams.ensure(session, NETWORK, "main", settings(nats))
            await session.api(f"STREAM.DELETE.{NAME}")
            second = await streams.ensure(session, NETWORK, "main", settings(nats))
            assert first.created != second.created

    run(main())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"storage": "memory"}, "in memory"),
        ({"storage": "file", "persist_mode": "async"}, "before it is written"),
    ],
    ids=["memory", "async"],
)
def test_one_that_would_lose_what_it_acknowledged_is_refused(nats, config, said):
    async def main():
        async with connected(nats) as session:
            made = {"name": NAME, "subjects": [NETWORK.subjects("main")], **config}
            await session.api(f"STREAM.CREATE.{NAME}", made)
            with pytest.raises(BrokerUnsafe, match=said):
                await streams.ensure(session, NETWORK, "main", settings(nats))
            if config["storage"] == "file":
                return  # nothing but a new stream changes it
            with pytest.raises(BrokerError, match="storage"):
                await streams.ensure(session, NETWORK, "main", settings(nats, accept_unsynced=True))

    run(main())


def test_what_the_server_does_not_do_is_said(nats):
    async def main():
        async with connected(nats) as session:
            with pytest.raises(BrokerError, match="replicas > 1"):
                await streams.ensure(session, NETWORK, "main", settings(nats, replicas=3))
            await session.api("STREAM.CREATE.X", {"name": "X", "subjects": ["myc.>"]})
            with pytest.raises(BrokerError, match="overlap"):
                await streams.ensure(session, NETWORK, "main", settings(nats))

    run(main())


def test_those_of_a_network_are_found_among_others(nats):
    async def main():
        async with connected(nats) as session:
            assert await streams.of_network(session, NETWORK) == {}
            for space in ("main", "a.b"):
                await streams.ensure(session, NETWORK, space, settings(nats))
            await streams.ensure(session, Network(8, NETWORK.genesis), "main", settings(nats))
            await session.api("STREAM.CREATE.X", {"name": "X", "subjects": ["x.>"]})
            found = await streams.of_network(session, NETWORK)
            assert found.keys() == {"main", "a.b"}
            assert found["a.b"].name == NETWORK.stream("a.b")

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"config": {}, "state": {}},
        {"config": None, "state": 1},
        {"config": {"name": "a"}, "state": {"messages": "x"}},
    ],
    ids=["empty", "hollow", "types", "text"],
)
def test_an_answer_that_is_none(answer):
    with pytest.raises(BrokerError, match="does not parse"):
        StreamState.parse(answer)
