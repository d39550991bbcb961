"""`mycelium trim` against a node in a process of its own."""

from __future__ import annotations

from clikit import invoke, invoke_json, running

from mycelium.devnet.layout import prepare


def test_trim(tmp_path):
    (place,) = prepare(tmp_path / "net", 1)
    text = place.config.read_text()
    with running(place.config):
        _, said = invoke("trim", "--config", place.config, code=2)
        assert "log_keep_hours" in said
    place.config.write_text(text + "\n[store]\nlog_keep_hours = 1\n")
    with running(place.config):
        for value in ("1", "2"):
            invoke("put", "records", "k", value, "--config", place.config)
        (found,) = invoke_json("trim", "--config", place.config)
        assert found == {"looked": 2, "dropped": 0, "dropped_bytes": 0}, "an hour has not passed"
        out, _ = invoke("trim", "--config", place.config)
        assert "dropped 0 of 2 batches" in out
