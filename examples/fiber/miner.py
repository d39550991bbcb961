"""A miner that answers validators, encrypted: uvicorn miner:app --port 8091. Its settings are environment variables."""

from functools import partial

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from mycelium.encrypted.miner.dependencies import blacklist_low_stake, verify_request
from mycelium.encrypted.miner.security.encryption import decrypt_general_payload
from mycelium.encrypted.miner.server import factory_app


class Question(BaseModel):
    text: str


router = APIRouter(dependencies=[Depends(blacklist_low_stake), Depends(verify_request)])


@router.post("/reverse")
async def reverse(question: Question = Depends(partial(decrypt_general_payload, Question))) -> dict[str, str]:
    return {"text": question.text[::-1]}


app = factory_app(routers=[router])
