"""A miner with native handlers: uvicorn miner:app --port 8091. Its settings are environment variables."""

from collections.abc import AsyncIterator

import msgspec

from mycelium.miner.calls import Calls, Refused, Validator
from mycelium.miner.server import factory_app


class Question(msgspec.Struct):
    text: str


class Answer(msgspec.Struct):
    text: str


calls = Calls()


@calls.on("/reverse")
async def reverse(question: Question) -> Answer:
    if not question.text:
        raise Refused(422, "there is nothing to reverse")
    return Answer(question.text[::-1])


@calls.on("/letters")
async def letters(question: Question, validator: Validator) -> AsyncIterator[str]:
    yield f"for {validator.hotkey}\n"
    for letter in question.text:
        yield letter + "\n"


app = factory_app(calls=calls)
