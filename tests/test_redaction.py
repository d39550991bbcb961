"""What a log must not show: known secrets in any form, and what addresses carry beside the host."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelium.redaction import HIDDEN, Redactor, masked

SEED = "0x" + "5E" * 32
PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("wss://me:secret@host:443/", f"wss://{HIDDEN}@host:443/"),
        ("at wss://host/v1/KEY, and ws://h:1?k=KEY", "at wss://host/..., and ws://h:1/..."),
        ("ws://[::1]:9944/KEY", "ws://[::1]:9944/..."),
        ("https://me:secret@host/docs", f"https://{HIDDEN}@host/docs"),
        ("['wss://u:p@h/KEY']", f"['wss://{HIDDEN}@h/...']"),
        ("ws://127.0.0.1:9090: refused", "ws://127.0.0.1:9090: refused"),
        ("a@b and 3/4 and x://y", "a@b and 3/4 and x://y"),
    ],
)
def test_addresses(text, shown):
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [SEED, SEED.lower(), SEED[2:], f"seed={SEED.upper()}", f"({PHRASE})", PHRASE.replace(" ", ", ").title()],
)
def test_secrets_in_any_form(text):
    said = Redactor([SEED, PHRASE])(text)
    assert HIDDEN in said
    assert "5e5e" not in said.lower()
    assert "curtain" not in said.lower()


def test_what_is_no_secret_stays():
    redact = Redactor(["", "  ", "a", "0x"])
    assert redact("a 0x text") == "a 0x text"
    assert "0" in repr(redact)
    redact.add([PHRASE])
    assert PHRASE not in repr(redact)
    assert redact(f"<{PHRASE}>") == f"<{HIDDEN}>"


@given(
    st.lists(
        st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6, max_size=12), max_size=4
    ),
    st.text(max_size=30),
    st.text(max_size=30),
)
def test_no_known_secret_survives(secrets, before, after):
    redact = Redactor(secrets)
    for secret in secrets:
        said = redact(f"{before}{secret}{after}").replace(HIDDEN, "\n")
        assert secret.lower() not in said.lower()
