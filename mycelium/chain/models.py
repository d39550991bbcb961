"""What programs hold of nodes and commitments: pydantic models, as they came from the chain. Reads no chain."""

from __future__ import annotations

import ipaddress
from enum import Enum
from typing import Any, Final, Self, TypeAlias, TypedDict

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

__all__ = [
    "IP",
    "BaseModel",
    "CommitmentDataField",
    "CommitmentDataFieldType",
    "CommitmentQuery",
    "Enum",
    "Node",
    "ParamWithTypes",
    "RawCommitmentQuery",
    "TypeAlias",
    "TypedDict",
]

_IP_MAX: Final = 2**128


class IP(str):
    """An address as text, of which `int` is the number that the chain keeps. IPv4 is dotted, IPv6 as usual.

    Made of either spelling: "10.0.0.1", "167772161", 167772161. A host name stays as it is, and has no number.
    ValueError for a number that is no address.
    """

    __slots__ = ()

    def __new__(cls, value: str | int = "") -> Self:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"{value!r} is no address")
        # Programs wrote the number where the chain had given it to them as such.
        number = int(value) if not isinstance(value, str) or _is_number(value) else None
        if number is None:
            return super().__new__(cls, value)
        if not 0 <= number < _IP_MAX:
            raise ValueError(f"{value!r} is no address: it has more than 128 bits")
        return super().__new__(cls, ipaddress.ip_address(number))

    def __int__(self) -> int:
        return int(ipaddress.ip_address(str(self)))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        either = core_schema.union_schema([core_schema.str_schema(), core_schema.int_schema(strict=True)])
        return core_schema.no_info_after_validator_function(
            cls,
            either,
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, return_schema=core_schema.str_schema(), when_used="json"
            ),
        )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


class Node(BaseModel):
    """One uid of a subnet. Stakes in TAO, last_updated a block's number.

    stake: the weight that counts; alpha_stake and tao_stake: what it is made of, 0 in what older versions kept.
    incentive: 0 to 65,535. vtrust: validator trust, 0 to 1. trust: 0 on today's chain, which keeps none.
    ip: "0.0.0.0" and port 0 where no axon is published. ip_type: 4, 6, or 0 for none.
    """

    # Fiber 2.1 filled vtrust with the validators' trust as a part of 1, 2.5 with the raw consensus of u16. The first is
    # what the name says and what programs compare with thresholds below 1; consensus has a place in no Node.
    hotkey: str
    coldkey: str
    node_id: int
    incentive: float
    netuid: int
    alpha_stake: float = 0.0
    tao_stake: float = 0.0
    stake: float
    trust: float
    vtrust: float
    last_updated: float
    ip: IP
    ip_type: int
    port: int
    protocol: int = 4


class ParamWithTypes(TypedDict):
    """A parameter of a runtime API, as `type_registries` names it."""

    name: str
    type: str


class CommitmentDataFieldType(Enum):
    """What a field of a commitment holds: bytes, or one of the hashes of some."""

    RAW = "Raw"
    BLAKE_TWO_256 = "BlakeTwo256"
    SHA_256 = "Sha256"
    KECCAK_256 = "Keccak256"
    SHA_THREE_256 = "ShaThree256"


CommitmentDataField: TypeAlias = tuple[CommitmentDataFieldType, bytes] | None
"""One field of a commitment; None for an empty one."""


class CommitmentQuery(BaseModel):
    """What an account committed to. block: in which. deposit: in rao; none is taken today."""

    fields: list[CommitmentDataField]
    block: int
    deposit: int


class RawCommitmentQuery(BaseModel):
    """The bytes that an account committed to. block: in which. deposit: in rao."""

    data: bytes
    block: int
    deposit: int
