"""What is asked of the running node: members take their time to dial, and an older node knows fewer questions."""

import asyncio

import pytest
from doctor.test_ports import RUNNING, URL

from mycelium._version import __version__
from mycelium.devnet.layout import prepare
from mycelium.doctor import examine
from mycelium.errors import CallFailed, CallTimeout, LinkClosed, UsageError
from mycelium.node import calls
from mycelium.node.reaching import ASK_S
from mycelium.node.settings import Settings

STATUS = {**RUNNING, "version": __version__}


class Running:
    """Stands for the connection to a node: `answer` is what asking members comes to, after `takes_s`."""

    def __init__(self, answer, takes_s=0.0):
        self.database = self
        self._answer, self._takes_s = answer, takes_s

    async def status(self):
        return STATUS

    async def ask(self, method, body, kind, *, timeout_s=examine.ANSWER_S):
        assert method == calls.REACH
        if timeout_s < self._takes_s:
            raise CallTimeout(f"no answer to reach within {timeout_s} s")
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def checkpoint(self, path):
        raise UsageError("there is none")


def findings(tmp_path, node):
    settings = Settings.load(prepare(tmp_path / "net", 1)[0].config)

    async def main():
        return [finding async for finding in examine._running(settings, node, "", lambda rows: None)]

    return [(found.name, found.verdict.value, found.found) for found in asyncio.run(main())]


def test_a_member_that_says_nothing_is_no_fault_of_the_node(tmp_path):
    silent = Running(
        [{"account": "5F", "error": "no answer"}, {"account": "5G", "addresses": {URL: ""}}], ASK_S
    )
    found = findings(tmp_path, silent)
    assert [verdict for name, verdict, _ in found if name == "running node"] == ["ok"]
    assert ("reachable", "ok") in [(name, verdict) for name, verdict, _ in found]


@pytest.mark.parametrize("error", [UsageError("there is no method reach"), CallFailed("Odd", "reach")])
def test_a_node_that_does_not_know_the_question_answers_all_the_same(tmp_path, error):
    found = findings(tmp_path, Running(error))
    assert [verdict for name, verdict, _ in found if name == "running node"] == ["ok"]
    (said,) = [said for name, verdict, said in found if (name, verdict) == ("reachable", "skipped")]
    assert said == f"nobody could be asked: {error}"


@pytest.mark.parametrize("error", [CallTimeout("no answer"), LinkClosed("gone")])
def test_a_node_that_falls_silent_does_not_answer(tmp_path, error):
    found = findings(tmp_path, Running(error))
    assert ("running node", "fail", f"does not answer: {error}") in found
