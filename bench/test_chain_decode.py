"""Decoding a metagraph as the chain client does (bittensor-core, the chain's own metadata) against scalecodec.

Both decode the same bytes by the same type of the same registry (spec 424, whose versions 14 and 15 share it), in
rounds that alternate: the metagraph of 256 neurons as the development chain answers it, and what the public chain
answered for a subnet of 1,024, which is kept beside the repository. Required: at least 5 times faster.

    python -m pytest bench/test_chain_decode.py -s        or        python bench/test_chain_decode.py
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import pytest
from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset

from mycelium.chain.runtime import Codec, Version
from mycelium.devnet.chain.core import MANUAL, Core
from mycelium.devnet.chain.population import development

SHARED = Path(__file__).resolve().parents[2] / "shared" / "chain"
RATIO_MIN = 5.0
ROUNDS = 5
NEURONS = 256
NETUID_1 = b"\x01\x00"


def metadata(version: int) -> bytes:
    path = SHARED / f"metadata_v{version}_spec424_converted.scale"
    if not path.exists():
        pytest.skip(f"needs {path.name}, which is kept beside the repository")
    return path.read_bytes()


def ours() -> Codec:
    return Codec(metadata(15), Version(424, 1))


def theirs() -> RuntimeConfigurationObject:
    config = RuntimeConfigurationObject(ss58_format=42, implements_scale_info=True)
    config.update_type_registry(load_type_registry_preset("core"))
    decoder = config.create_scale_object("MetadataVersioned", data=ScaleBytes(metadata(14)))
    decoder.decode()
    config.add_portable_registry(decoder)
    return config


def answers() -> list[tuple[str, str, bytes]]:
    """(runtime API, its function, SCALE of what it returned)."""
    core = Core(
        development(validators=64, miners=NEURONS - 64), clock=lambda: 1_760_000_000_000, blocks=MANUAL
    )
    metagraph = core.runtime.call(core.chain.storage, "SubnetInfoRuntimeApi_get_metagraph", NETUID_1)
    found = [("SubnetInfoRuntimeApi", "get_metagraph", metagraph)]
    recorded = json.loads((SHARED / "recorded_rpc.json").read_text())["metagraph"]["state_call"]
    for parameters, answer in recorded.items():
        api, _, method = json.loads(parameters)[0].partition("_")
        found.append((api, method, bytes.fromhex(answer["result"].removeprefix("0x"))))
    return found


def measure(codec: Codec, config, kind: str, data: bytes) -> tuple[float, float]:
    """Median seconds of one decode, ours and theirs."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        began = time.perf_counter()
        fast = codec.runtime.decode(kind, data)
        times[0].append(time.perf_counter() - began)
        began = time.perf_counter()
        slow = config.create_scale_object(kind, data=ScaleBytes(data)).decode()
        times[1].append(time.perf_counter() - began)
        assert hotkeys(fast) == hotkeys(slow)
    return statistics.median(times[0]), statistics.median(times[1])


def hotkeys(answer) -> list[str]:
    if isinstance(answer, list):
        return [neuron["hotkey"] for neuron in answer]
    return list(answer["hotkeys"])


def test_decoding_a_metagraph():
    codec, config = ours(), theirs()
    ratios = {}
    for api, method, data in answers():
        fast, slow = measure(codec, config, codec.apis[api][method]["output"], data)
        ratios[method] = slow / fast
        print(
            f"\n{method}: {len(data) / 1024:.0f} KiB, ours {fast * 1000:.2f} ms, scalecodec {slow * 1000:.0f} ms, "
            f"{slow / fast:.0f} times faster",
            end="",
        )
    print()
    assert min(ratios.values()) >= RATIO_MIN, ratios


def test_loading_metadata():
    """What comes before the first decode: a program starts with it, and each runtime upgrade costs it again."""
    began = time.perf_counter()
    ours()
    fast = time.perf_counter() - began
    began = time.perf_counter()
    theirs()
    slow = time.perf_counter() - began
    print(f"\nmetadata of spec 424: ours {fast * 1000:.0f} ms, scalecodec {slow * 1000:.0f} ms")
    assert slow / fast >= RATIO_MIN


if __name__ == "__main__":
    test_decoding_a_metagraph()
    test_loading_metadata()
