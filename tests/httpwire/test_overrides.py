"""What programs put in the place of the configuration."""

from __future__ import annotations

import pytest
from fastapi import Depends
from httpwire.httpkit import VALIDATOR
from httpwire.minerkit import ME, VALIDATOR_ADDRESS, app_of, asking, config, on_loop

from mycelium.miner import dependencies
from mycelium.validator import requests


@pytest.mark.parametrize("kind", ["function", "coroutine"])
@on_loop
async def test_a_configuration_of_ones_own(kind):
    settings = config(encrypted=False)

    async def get():
        return settings

    app = app_of(settings, encrypted=False)
    if kind == "coroutine":
        app.dependency_overrides[dependencies.get_config] = get

    checks = [Depends(dependencies.blacklist_low_stake), Depends(dependencies.verify_request)]

    @app.post("/ask", dependencies=checks)
    async def ask():
        return "answer"

    async with asking(app) as client:
        answer = await requests.make_non_streamed_post(
            client, "http://miner", VALIDATOR_ADDRESS, ME, VALIDATOR, "/ask", {}
        )
    assert (answer.status_code, answer.json()) == (200, "answer")
