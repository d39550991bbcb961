"""Every scenario that comes with Mycelium, small and for a few seeds; and scenario files with mistakes."""

from __future__ import annotations

import pytest
from simkit import SMALL, scenario

from mycelium.errors import ConfigError
from mycelium.sim.run import run
from mycelium.sim.scenario import find, names

BIG = {"mesh_64", "mesh_256", "tree_64"}
SMALL_ONES = [name for name in names() if name not in BIG]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", SMALL_ONES)
def test_a_scenario_ends_as_it_says(name, seed):
    found = find(name)
    summary = run(found, seed).summary
    assert summary.deliveries > 0
    assert summary.acknowledged > 0
    assert summary.sweeps > 2


@pytest.mark.parametrize("name", sorted(BIG))
def test_a_big_scenario_small(name):
    summary = run(find(name).sized(10), 1).summary
    assert summary.crypto == "fast"
    assert summary.deliveries > 0


def test_in_a_calm_network_each_delivery_is_one_copy():
    summary = run(find("calm"), 4).summary
    assert summary.copies_per_delivery <= 1.01
    assert summary.deliveries == summary.batches * (summary.nodes - 1)
    assert summary.refused == 0


def test_a_restored_backup_is_not_an_equivocator():
    assert run(find("restored_backup"), 5).summary.evidence == 0


def test_members_that_sign_every_message_agree_too(tmp_path):
    signed = scenario(tmp_path, SMALL.replace("nodes = 4", 'nodes = 4\nauth_mode = "signed"'))
    assert signed.auth_mode == "signed"
    one, other = run(signed, 1).summary, run(signed, 1).summary
    assert one.trace == other.trace
    plain = run(scenario(tmp_path), 1).summary
    assert plain.deliveries == one.deliveries
    assert one.bytes > plain.bytes


def test_an_equivocator_is_proved_everywhere():
    summary = run(find("equivocator"), 5).summary
    assert summary.evidence == summary.nodes


def test_a_scenario_can_have_more_nodes():
    assert run(find("silent_fifth").sized(15), 1).summary.nodes == 12


def test_too_few_honest_members_are_refused():
    with pytest.raises(ConfigError, match="hostile"):
        find("equivocator").sized(2)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nodes = 4", "nodes = 0", "scenario.nodes is 0"),
        ("nodes = 4", "nodez = 4", "did you mean"),
        ("[load]", "[lode]", "is missing"),
        ("value_bytes = 64", 'tables = ["scorez"]', "scorez"),
        ("value_bytes = 64", '[[event]]\nat_ms = 1\naction = "explode"', "one of"),
        ("value_bytes = 64", '[[hostile]]\nkind = "polite"', "one of"),
        ("value_bytes = 64", "[expect]\np99 = 3", "is not known"),
        ("value_bytes = 64", "[network]\nloss_per_mille = 900", "from 0 to 500"),
        ("value_bytes = 64", "[network]\nneighbours = 3", "even number"),
    ],
    ids=["nodes", "name", "section", "table", "action", "kind", "expect", "loss", "odd"],
)
def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path, old, new, said):
    with pytest.raises(ConfigError) as caught:
        scenario(tmp_path, SMALL.replace(old, new))
    assert said in str(caught.value) + str(caught.value.remedy)
    assert "scenario.toml:" in str(caught.value)


def test_an_unknown_scenario_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        find("parttion")
    assert "partition" in caught.value.remedy


def test_every_scenario_that_comes_along_says_what_it_shows():
    for name in names():
        assert 20 < len(find(name).summary) < 120


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", ["lossy", "partition", "crash", "storm"])
def test_a_thousand_seeds(name):
    for seed in range(1, 1_001):
        run(find(name), seed)
