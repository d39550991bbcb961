"""A bare JSON-RPC client that signs extrinsics by the chain's own metadata. No assertions live here."""

from __future__ import annotations

import json
from contextlib import contextmanager

import bittensor_core
from websockets.sync.client import connect

from mycelium.identity.keys import Keypair


def hexed(data):
    return "0x" + bytes(data).hex()


def unhexed(text):
    return bytes.fromhex(text.removeprefix("0x"))


class Refused(Exception):
    """The chain answered with an error."""

    def __init__(self, error):
        super().__init__(str(error))
        self.code, self.message, self.data = error["code"], error["message"], error.get("data")


class Wire:
    """One connection, one request at a time; notifications are kept aside."""

    def __init__(self, socket):
        self._socket = socket
        self.notes = []
        version = self.ask("state_getRuntimeVersion")
        self.genesis = unhexed(self.ask("chain_getBlockHash", 0))
        raw = unhexed(self.ask("state_call", "Metadata_metadata_at_version", "0x0f000000"))
        # An option around bytes: the flag, the compact length of four bytes, the metadata.
        self.codec = bittensor_core.Runtime(raw[5:], version["specVersion"], version["transactionVersion"])

    def ask(self, method, *params):
        self._socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=10))
            if "id" not in answer:
                self.notes.append(answer["params"])
            elif "error" in answer:
                raise Refused(answer["error"])
            else:
                return answer["result"]

    def note(self):
        if self.notes:
            return self.notes.pop(0)
        return json.loads(self._socket.recv(timeout=10))["params"]

    def read(self, pallet, item, *params, at=None):
        key = self.codec.storage_key(pallet, item, list(params))
        raw = self.ask("state_getStorage", hexed(key), at)
        entry = self.codec.storage_entry(pallet, item)
        if raw is None and entry.modifier == "Optional":
            return None
        return self.codec.decode(entry.value_type, entry.default_bytes if raw is None else unhexed(raw))

    def runtime_api(self, api, method, data=b"", at=None):
        raw = unhexed(self.ask("state_call", f"{api}_{method}", hexed(data), at))
        return self.codec.decode(self.codec.runtime_api_map()[api][method]["output"], raw)

    def balance(self, account):
        return self.read("System", "Account", account)["data"]["free"]

    def sign(
        self, who, call, *, nonce=None, era=None, era_hash=None, genesis=None, codec=None, signer=None, tip=0
    ):
        """A signed extrinsic of the call (pallet, function, parameters); bytes."""
        codec = codec or self.codec
        keypair = Keypair.development(who)
        if nonce is None:
            nonce = self.read("System", "Account", keypair.account)["nonce"]
        data = bytes(codec.compose_call(*call))
        era = era or "00"
        genesis = genesis or self.genesis
        payload = codec.signature_payload(
            data,
            era=era,
            nonce=nonce,
            tip=tip,
            tip_asset_id=None,
            genesis_hash=genesis,
            era_block_hash=era_hash or genesis,
        )
        signature = Keypair.development(signer or who).sign_preimage(bytes(payload))
        extrinsic, _ = codec.encode_signed_extrinsic(
            data,
            public_key=keypair.account,
            signature=signature,
            signature_version=1,
            era=era,
            nonce=nonce,
            tip=tip,
            tip_asset_id=None,
        )
        return bytes(extrinsic)

    def submit(self, extrinsic):
        return self.ask("author_submitExtrinsic", hexed(extrinsic))

    def events(self, at=None):
        return self.read("System", "Events", at=at)


@contextmanager
def wire(url):
    with connect(url, compression=None, max_size=None) as socket:
        yield Wire(socket)


def transfer(to, amount_rao):
    return ("Balances", "transfer_keep_alive", {"dest": to, "value": amount_rao})
