"""A validator's operations on the chain, bound to one subnet and its keys: weights, endpoints, stake, registration.
Its requests to miners, which are `requests`' work, have their names here too.

Owns nothing but the binding; the work and its rules are in `chain`. Every operation can be tried out (`dry_run=True`):
it says what would be sent, what it would cost, and which rules were looked at. A rule that refuses is in the result;
`result.check()` raises instead. Amounts are whole rao (`balance.rao("1.5")`), never floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from mycelium.chain import registration, serving, staking, weights
from mycelium.chain.balance import Rao, format_tao, rao
from mycelium.chain.connection import Connection
from mycelium.chain.metagraph import Metagraph
from mycelium.chain.outcome import Options, Outcome
from mycelium.chain.registration import RegisterResult
from mycelium.chain.serving import ServeResult, certificate
from mycelium.chain.signer import address, signer
from mycelium.chain.staking import StakeResult
from mycelium.chain.weights import WeightsResult
from mycelium.errors import UsageError
from mycelium.validator.requests import (
    _get_headers,
    construct_server_address,
    get_headers_with_nonce,
    make_non_streamed_get,
    make_non_streamed_post,
    make_streamed_post,
)

__all__ = [
    "Outcome",
    "Rao",
    "RegisterResult",
    "ServeResult",
    "StakeResult",
    "ValidatorClient",
    "WeightsResult",
    "_get_headers",
    "certificate",
    "construct_server_address",
    "format_tao",
    "get_headers_with_nonce",
    "make_non_streamed_get",
    "make_non_streamed_post",
    "make_streamed_post",
    "rao",
]


class ValidatorClient:
    """One hotkey on one subnet. hotkey, coldkey: a keypair, or where it is kept (see `chain.signer`).

    Without a coldkey there are no stake operations and no registration; without a hotkey only those, and each names
    its hotkey. Safe from several threads, as its connection is. What each method raises beside UsageError is what
    `Connection.submit` raises: nobody answered, or in no block in time.
    """

    def __init__(
        self, connection: Connection, netuid: int, *, hotkey: Any = None, coldkey: Any = None
    ) -> None:
        self.connection = connection
        self.netuid = netuid
        self._hotkey = None if hotkey is None else signer(hotkey)
        self._coldkey = None if coldkey is None else signer(coldkey, coldkey=True)

    # --- weights ----------------------------------------------------------------------------------------

    def set_weights(
        self,
        given: Mapping[int, float] | Mapping[str, float] | Sequence[int],
        values: Sequence[float] | None = None,
        *,
        mechanism: int = 0,
        version_key: int = 0,
        **options: Unpack[Options],
    ) -> WeightsResult:
        """See `chain.weights.set_weights`."""
        return weights.set_weights(
            self.connection,
            self._signing_hotkey(),
            self.netuid,
            given,
            values,
            mechanism=mechanism,
            version_key=version_key,
            **options,
        )

    def reveal_weights(self, committed: WeightsResult, **options: Unpack[Options]) -> WeightsResult:
        """Only of weights that were committed by hash, on older chains. See `chain.weights.reveal_weights`."""
        return weights.reveal_weights(self.connection, self._signing_hotkey(), committed, **options)

    # --- endpoints --------------------------------------------------------------------------------------

    def serve_axon(
        self, ip: str | int, port: int, *, version: int = 1, always: bool = False, **options: Unpack[Options]
    ) -> ServeResult:
        """Publish the axon, if the chain does not have it so already. See `chain.serving.serve_axon`."""
        key = self._signing_hotkey()
        return serving.serve_axon(
            self.connection, key, self.netuid, ip, port, version=version, always=always, **options
        )

    def serve_axon_tls(
        self,
        ip: str | int,
        port: int,
        key: bytes,
        *,
        version: int = 1,
        always: bool = False,
        **options: Unpack[Options],
    ) -> ServeResult:
        """The same, with the public key of its TLS server, as `certificate` makes it."""
        return serving.serve_axon_tls(
            self.connection,
            self._signing_hotkey(),
            self.netuid,
            ip,
            port,
            key,
            version=version,
            always=always,
            **options,
        )

    def serve_prometheus(
        self, ip: str | int, port: int, *, version: int = 1, always: bool = False, **options: Unpack[Options]
    ) -> ServeResult:
        """Publish where the metrics are. See `chain.serving.serve_prometheus`."""
        key = self._signing_hotkey()
        return serving.serve_prometheus(
            self.connection, key, self.netuid, ip, port, version=version, always=always, **options
        )

    def axon(self, hotkey: Any = None) -> dict[str, Any] | None:
        """The axon that is published, of this hotkey or another; None for none."""
        return serving.axon_of(self.connection, self.netuid, self._hotkey_address(hotkey))

    def prometheus(self, hotkey: Any = None) -> dict[str, Any] | None:
        """The Prometheus endpoint that is published, of this hotkey or another; None for none."""
        return serving.prometheus_of(self.connection, self.netuid, self._hotkey_address(hotkey))

    # --- stake ------------------------------------------------------------------------------------------

    def add_stake(
        self,
        amount: Rao,
        *,
        hotkey: Any = None,
        limit_price: Rao | None = None,
        allow_partial: bool = False,
        **options: Unpack[Options],
    ) -> StakeResult:
        """Stake TAO of the coldkey to a hotkey, by default this one. See `chain.staking.add_stake`."""
        return staking.add_stake(
            self.connection,
            self._signing_coldkey(),
            self._hotkey_address(hotkey),
            self.netuid,
            amount,
            limit_price=limit_price,
            allow_partial=allow_partial,
            **options,
        )

    def remove_stake(
        self,
        amount: Rao,
        *,
        hotkey: Any = None,
        limit_price: Rao | None = None,
        allow_partial: bool = False,
        **options: Unpack[Options],
    ) -> StakeResult:
        """Take stake back; amount: of alpha. See `chain.staking.remove_stake`."""
        return staking.remove_stake(
            self.connection,
            self._signing_coldkey(),
            self._hotkey_address(hotkey),
            self.netuid,
            amount,
            limit_price=limit_price,
            allow_partial=allow_partial,
            **options,
        )

    def staked(self, *, hotkey: Any = None, coldkey: Any = None) -> Rao:
        """What the coldkey has staked to the hotkey on this subnet, in rao of alpha."""
        owner = coldkey if coldkey is not None else self._signing_coldkey()
        return staking.staked(self.connection, self._hotkey_address(hotkey), owner, self.netuid)

    # --- registration -----------------------------------------------------------------------------------

    def is_registered(self, hotkey: Any = None) -> bool:
        """Whether a hotkey, by default this one, has a uid on the subnet."""
        return self.uid(hotkey) is not None

    def uid(self, hotkey: Any = None) -> int | None:
        """The uid of a hotkey, by default this one; None where it has none."""
        return registration.uid_of(self.connection, self.netuid, self._hotkey_address(hotkey))

    def current_burn(self) -> Rao:
        """What a registration costs now, in rao."""
        return registration.current_burn(self.connection, self.netuid)

    def burned_register(
        self, *, max_burn: Rao | None, hotkey: Any = None, **options: Unpack[Options]
    ) -> RegisterResult:
        """Register a hotkey, by default this one, for at most `max_burn`. See `chain.registration.burned_register`."""
        return registration.burned_register(
            self.connection,
            self._signing_coldkey(),
            self._hotkey_address(hotkey),
            self.netuid,
            max_burn=max_burn,
            **options,
        )

    def metagraph(self, *, mechanism: int = 0) -> Metagraph:
        """The subnet's metagraph, read now."""
        metagraph = Metagraph(self.netuid, self.connection, mechanism=mechanism)
        metagraph.sync()
        return metagraph

    # --- inside -----------------------------------------------------------------------------------------

    def _signing_hotkey(self) -> Any:
        if self._hotkey is None:
            raise UsageError("this needs the hotkey's signature: make the client with hotkey=...")
        return self._hotkey

    def _signing_coldkey(self) -> Any:
        if self._coldkey is None:
            raise UsageError("this needs the coldkey's signature: make the client with coldkey=...")
        return self._coldkey

    def _hotkey_address(self, hotkey: Any) -> str:
        return address(self._signing_hotkey() if hotkey is None else hotkey)
