"""What a decrypted body becomes; above all its nonce, which validators put there and some models ask for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from mycelium.encrypted.miner.security.encryption import _model

BODY = b'{"text": "a", "nonce": "1_a"}'


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str


class Named(Strict):
    nonce: str


class Aliased(Strict):
    once: str = Field(alias="nonce")


class Chosen(Strict):
    once: str = Field(validation_alias=AliasChoices("once", "nonce"))


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    text: str


class Looking(BaseModel):
    once: str

    @model_validator(mode="before")
    @classmethod
    def look(cls, values: Any) -> Any:
        return {"once": values["nonce"]}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Strict, {"text": "a"}),
        (Named, {"text": "a", "nonce": "1_a"}),
        (Aliased, {"text": "a", "once": "1_a"}),
        (Chosen, {"text": "a", "once": "1_a"}),
        (Open, {"text": "a", "nonce": "1_a"}),
        (Looking, {"once": "1_a"}),
    ],
)
def test_a_nonce_is_left_out_only_where_a_model_would_refuse_it(model, expected):
    assert _model(model, BODY).model_dump() == expected
