"""Keypairs: the one file that touches secret bytes. Everybody else holds a `Keypair` and asks it to sign.

A keypair's secret lives in closures, in no attribute, so that neither `repr`, `vars`, `copy`, `pickle` nor a
log line can show it. Errors about secret text never quote it. What this does not do is defend the process's
memory: Python cannot wipe what it has copied.

Signatures are sr25519 alone, as protocol version 1 says; no other scheme is tried. What is signed is never
the data itself but `preimage(domain, data)`: no signature made here can be taken for an extrinsic, for text
signed in a browser wallet (`<Bytes>...`), or for an object of another kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import blake2b
from secrets import token_bytes
from typing import Any, Final, NoReturn

import bip39
import sr25519
from blake3 import blake3

from mycelium.errors import KeyFileError
from mycelium.identity import account as ss58
from mycelium.identity.account import NOBODY

SEED_BYTES: Final = 32
PRIVATE_BYTES: Final = 64
SIGNATURE_BYTES: Final = 64
DIGEST_BYTES: Final = 32

_TAG: Final = b"\x00mycelium/1/"
_SR25519: Final = 1
"""`cryptoType` of a Bittensor key file; 0 is ed25519, 2 is ECDSA."""
_DEVELOPMENT_PHRASE: Final = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"
"""Substrate's public development phrase (sp_core::crypto::DEV_PHRASE): worth nothing, known to everyone."""
_ENCRYPTED: Final = (b"$NACL", b"$ANSIBLE_VAULT", b"gAAAAA")
"""First bytes of the formats Bittensor wallets encrypt with: NaCl, Ansible vault, Fernet."""


def digest(data: bytes) -> bytes:
    """BLAKE3 of the exact bytes that travel, 32 bytes: a signed object's id, and what is signed of it."""
    return blake3(data).digest()


def preimage(domain: bytes, data: bytes) -> bytes:
    """What is signed for `data`. 40 bytes follow the domain, always, so no two domains share a preimage."""
    return _TAG + domain + len(data).to_bytes(8, "little") + blake3(data).digest()


def verify(account: bytes, domain: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `account` signed `data` under `domain`; 40 us. Wrong lengths are False, never an error."""
    return verify_preimage(account, preimage(domain, data), signature)


def verify_preimage(account: bytes, signed: bytes, signature: bytes) -> bool:
    """`verify` for who has the `preimage` already, whose last 32 bytes are the data's digest."""
    if len(account) != 32 or len(signature) != SIGNATURE_BYTES or account == NOBODY:
        return False
    try:
        return bool(sr25519.verify(signature, signed, account))
    except ValueError:  # the bytes are no curve point, or not marked as a schnorrkel signature
        return False


class Keypair:
    """An account and the power to sign for it. Immutable; copies are itself; it cannot be pickled."""

    __slots__ = ("_export", "_sign", "account")

    account: bytes
    _sign: Callable[[bytes], bytes]
    _export: Callable[[], bytes]

    def __init__(self, private: bytes, seed: bytes | None = None) -> None:
        """From a 64-byte private key, and the seed it was expanded from if known. Raises KeyFileError."""
        if len(private) != PRIVATE_BYTES:
            raise KeyFileError(f"a private key has {PRIVATE_BYTES} bytes, not {len(private)}")
        try:
            account = sr25519.public_from_secret_key(private)
        except ValueError:
            account = NOBODY
        if account == NOBODY:
            raise KeyFileError(
                "the private key is not an sr25519 key", "Is it of another scheme, or cut short?"
            )
        pair = (account, private)

        def sign(message: bytes) -> bytes:
            return bytes(sr25519.sign(pair, message))

        def export() -> bytes:
            return _key_file(account, private, seed)

        for name, value in (("account", account), ("_sign", sign), ("_export", export)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_private_key(cls, private: bytes) -> Keypair:
        """From the 64 bytes that Bittensor calls `privateKey`."""
        return cls(private)

    @classmethod
    def from_seed(cls, seed: bytes) -> Keypair:
        """From a 32-byte mini-secret, which Bittensor calls `secretSeed`."""
        if len(seed) != SEED_BYTES:
            raise KeyFileError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        return cls(sr25519.pair_from_seed(seed)[1], seed)

    @classmethod
    def from_phrase(cls, phrase: str, password: str = "") -> Keypair:
        """From an English BIP39 phrase of 12 to 24 words.

        Substrate derives its mini-secret from the phrase's *entropy*, not from its words (substrate-bip39):
        PBKDF2-HMAC-SHA512, salt "mnemonic" + password, 2048 rounds, the first 32 bytes.
        """
        try:
            seed = bytes(bip39.bip39_to_mini_secret(" ".join(phrase.split()), password))
        except ValueError as error:
            # The library names the index of a wrong word or the count of words, not the words.
            raise KeyFileError(str(error).lower(), "Twelve to 24 English BIP39 words are expected.") from None
        return cls.from_seed(seed)

    @classmethod
    def generate(cls) -> Keypair:
        """A new account from the system's randomness."""
        return cls.from_seed(token_bytes(SEED_BYTES))

    @classmethod
    def development(cls, name: str) -> Keypair:
        """The account of hard path `//name` under Substrate's public phrase: `//Alice`, `//Bob`, `//node//3`.

        For tests and local networks: anyone can derive it. Without `//` the name is one junction.
        """
        pair = sr25519.pair_from_seed(bytes(bip39.bip39_to_mini_secret(_DEVELOPMENT_PHRASE, "")))
        for junction in name.removeprefix("//").split("//"):
            if not junction or "/" in junction:
                raise KeyFileError(
                    f"{name!r} is not a path of hard junctions", "Write it like //Alice or //a//1."
                )
            _, *pair = sr25519.hard_derive_keypair((_chain_code(junction), *pair), b"")
        return cls(pair[1])

    def sign(self, domain: bytes, data: bytes) -> bytes:
        """64 bytes; 23 us. sr25519 is randomised: two signatures of one thing differ, and are never ids."""
        return self._sign(preimage(domain, data))

    def sign_preimage(self, signed: bytes) -> bytes:
        """`sign` for who has the `preimage` already."""
        return self._sign(signed)

    def key_file(self) -> bytes:
        """The key file that Bittensor's tools read. It holds the secret: for `wallet.write_file` alone."""
        return self._export()

    def as_substrate(self) -> Any:
        """The same as substrate-interface's keypair, for programs that ask for one. That one shows its secret."""
        # Here only: it takes a quarter of a second to load.
        from substrateinterface import Keypair as Theirs

        fields = json.loads(self._export())
        if fields["secretSeed"] is not None:
            return Theirs.create_from_seed(fields["secretSeed"], ss58_format=ss58.PREFIX)
        return Theirs.create_from_private_key(
            fields["privateKey"], public_key=fields["publicKey"], ss58_format=ss58.PREFIX
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Keypair cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Keypair cannot be changed")

    def __repr__(self) -> str:
        return f"<Keypair {ss58.format(self.account)}>"

    def __eq__(self, other: object) -> bool:
        return self.account == other.account if isinstance(other, Keypair) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.account)

    def __copy__(self) -> Keypair:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Keypair:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Keypair cannot be pickled: its secret must not leave the process")


def from_text(text: str, source: str) -> Keypair:
    """A keypair from a seed (64 hex digits), a private key (128) or a BIP39 phrase; errors name `source`."""
    text = text.strip()
    raw = _hex(text)
    try:
        if raw is not None and len(raw) == SEED_BYTES:
            return Keypair.from_seed(raw)
        if raw is not None and len(raw) == PRIVATE_BYTES:
            return Keypair.from_private_key(raw)
        if " " in text:
            return Keypair.from_phrase(text)
    except KeyFileError as error:
        raise KeyFileError(f"{source}: {error.what}", error.remedy) from None
    raise KeyFileError(
        f"{source} holds no hotkey",
        "Give a seed of 64 hex digits, a private key of 128, or a BIP39 phrase of 12 to 24 words.",
    )


def from_key_file(content: bytes, source: str) -> Keypair:
    """A keypair from a Bittensor key file, or a file that holds what `from_text` reads. Raises KeyFileError.

    The first present of secretSeed, privateKey and secretPhrase counts. What the file says its account is
    must be that secret's: a file pasted together from two must not start a node under another name.
    """
    content = content.strip()
    if content.startswith(_ENCRYPTED):
        raise KeyFileError(
            f"{source} is encrypted, and encrypted hotkeys are not supported yet",
            "Store the hotkey without a password (it holds no funds), or use an environment variable.",
        )
    try:
        text = content.decode("ascii")
        fields = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        raise KeyFileError(f"{source} is not a key file: it is not JSON", "Is it the right file?") from None
    if fields is None:
        return from_text(text, source)
    crypto = fields.get("cryptoType", _SR25519)
    if crypto != _SR25519:
        raise KeyFileError(
            f"{source}: only sr25519 hotkeys sign for Bittensor, not cryptoType {str(crypto)[:8]!r}"
        )
    try:
        keypair = _from_fields(fields)
    except KeyFileError as error:
        raise KeyFileError(f"{source}: {error.what}", error.remedy) from None
    for name in ("ss58Address", "publicKey", "accountId"):
        if fields.get(name) and not _names(fields[name], keypair.account):
            raise KeyFileError(
                f"{source}: its {name} is not the account of its secret, {ss58.format(keypair.account)}",
                "The file is mixed from two keys; recreate the hotkey.",
            )
    return keypair


def secret_texts(content: bytes) -> frozenset[str]:
    """The secrets in a key file, or in what `from_text` reads, for who has to keep them out of what is shown."""
    try:
        text = content.decode().strip()
        fields = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        return frozenset()
    if not isinstance(fields, dict):
        return frozenset({text})
    found = (fields.get(name) for name in ("secretSeed", "privateKey", "secretPhrase", "secretKey"))
    return frozenset(value for value in found if isinstance(value, str) and value)


def _from_fields(fields: dict[str, Any]) -> Keypair:
    for name, length in (("secretSeed", SEED_BYTES), ("privateKey", PRIVATE_BYTES)):
        if fields.get(name):
            raw = _hex(fields[name])
            if raw is None or len(raw) != length:
                raise KeyFileError(
                    f"{name} is not {length} bytes in hex", "The file is damaged; recreate the hotkey."
                )
            return Keypair.from_seed(raw) if length == SEED_BYTES else Keypair.from_private_key(raw)
    phrase = fields.get("secretPhrase")
    if phrase and isinstance(phrase, str):
        return Keypair.from_phrase(phrase)
    raise KeyFileError(
        "it holds no secret, only the public key",
        "Name the hotkey's own file, not its ...pub.txt.",
    )


def _key_file(account: bytes, private: bytes, seed: bytes | None) -> bytes:
    public = "0x" + account.hex()
    fields = {
        "accountId": public,
        "publicKey": public,
        "privateKey": "0x" + private.hex(),
        "secretPhrase": None,
        "secretSeed": None if seed is None else "0x" + seed.hex(),
        "ss58Address": ss58.format(account),
        "cryptoType": _SR25519,
    }
    return json.dumps(fields).encode()


def _hex(text: object) -> bytes | None:
    """The bytes behind hex digits with or without 0x, or None. `bytes.fromhex` alone would skip spaces."""
    if not isinstance(text, str):
        return None
    digits = text.removeprefix("0x")
    if " " in digits or not digits:
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None


def _names(text: object, account: bytes) -> bool:
    return text == ss58.format(account) or _hex(text) == account


def _chain_code(junction: str) -> bytes:
    """A junction as Substrate encodes it (sp_core::crypto::DeriveJunction): SCALE, padded or hashed to 32."""
    if junction.isascii() and junction.isdigit() and int(junction) < 2**64:
        encoded = int(junction).to_bytes(8, "little")
    else:
        text = junction.encode()
        if len(text) > 63:
            raise KeyFileError("a junction has at most 63 bytes")
        encoded = bytes((len(text) << 2,)) + text
    if len(encoded) > 32:
        return blake2b(encoded, digest_size=32).digest()
    return encoded.ljust(32, b"\x00")
