"""Config: a frozen table of choices, each checked when it is made."""
import dataclasses
import math

import numpy as np
import pytest
import torch
from tools import config, diary, weights

import iq

NUMBERS = {
    "gamma": (-0.1, 1.0, 1.5), "temperature": (0.0, -1.0), "chi2_alpha": (0.0, -0.5),
    "learning_rate": (0.0, -1e-3, 2.0), "target_rate": (0.0, -0.1, 1.1),
    "hidden": (0, -1, 1.5, 10**9),
    "batch_size": (0, -1, 1.5, 10**12), "steps": (0, -1, 1.5),
    "seed": (-1, 1.5, 2**31)}
WORDS = {
    "divergence": set(iq.DIVERGENCES), "chi2_on": {"expert", "mixture"},
    "absorbing": {False, True}, "continuous": {"naf", "actor_critic"},
    "device": {"cpu", "cuda"}}
BOTH = {"value_term": (-0.1, 2.5)}  # a number, or "initial"
NONSENSE = math.nan, math.inf, -math.inf, "much", [], (1,), None
FIELDS = [f.name for f in dataclasses.fields(iq.Config)]
BAD = ([(k, x) for k, bad in (NUMBERS | BOTH).items() for x in (*bad, *NONSENSE, True)
        if (k, x) != ("value_term", None)]  # which each kind of agent has its own for
       + [(k, x) for k in WORDS for x in ("unheard of", "", 2, None, math.nan)])


def test_every_field_is_tried_here():
    assert set(FIELDS) == NUMBERS.keys() | WORDS.keys() | BOTH.keys()


@pytest.mark.parametrize("name, value", BAD)
def test_a_bad_value_is_refused_with_field_value_and_what_is_allowed(name, value):
    with pytest.raises(ValueError) as caught:
        iq.Config(**{name: value})
    before, _, allowed = str(caught.value).partition("allowed: ")
    assert name in before and repr(value) in before and "\n" not in allowed
    words = WORDS.get(name, {"initial"} if name in BOTH else set()) - {"cuda"}
    assert all(str(word) in allowed for word in words) and allowed


@pytest.mark.parametrize("name", FIELDS)
def test_every_word_and_a_whole_number_within_the_range_is_taken(name):
    whole = 0 if name == "gamma" else 1
    for value in WORDS.get(name, {whole}) - {"cuda"}:
        assert getattr(iq.Config(**{name: value}), name) == value
    assert iq.Config(value_term="initial").value_term == "initial"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device is 'cuda'; allowed: .*cpu"):
        iq.Config(device="cuda")


def test_a_config_does_not_change_once_made_and_knows_no_other_field():
    with pytest.raises(dataclasses.FrozenInstanceError):
        iq.Config().gamma = 0.5
    assert iq.Config(gamma=0.5) == iq.Config(gamma=0.5) != iq.Config(gamma=0.6)
    with pytest.raises(TypeError, match="gama"):
        iq.Config(gama=0.9)


NUMPY = {"gamma": np.float64(0.9), "temperature": np.float32(0.25),
         "learning_rate": np.float64(1e-3), "hidden": np.int64(8),
         "batch_size": np.uint8(8), "steps": np.int32(2), "absorbing": np.bool_(False),
         "divergence": np.str_("hellinger"), "value_term": np.float16(0.5)}


def test_numbers_of_numpy_are_plain_ones_and_go_to_disk_and_back(tmp_path):
    c = iq.Config(**NUMPY)
    assert c == iq.Config(**{name: x.item() for name, x in NUMPY.items()})
    assert not any(isinstance(getattr(c, name), np.generic) for name in FIELDS)
    iq.learn(diary(), config=c).save(tmp_path / "agent.pt")
    assert iq.load(tmp_path / "agent.pt").config == c


# ------------------------------------------------- every field changes what is learned

OTHER = {
    "gamma": 0.5, "temperature": 1.7, "divergence": "hellinger", "chi2_alpha": 0.01,
    "chi2_on": ("mixture", "expert"), "value_term": ("initial", 0.3), "hidden": 9,
    "absorbing": (False, True), "learning_rate": 0.02, "target_rate": 0.9,
    "batch_size": 9, "steps": 4, "seed": 1,
    "continuous": ("naf", "actor_critic")}


def learned(kind, **changes):
    """Adam hides the length of gradients: the first steps are compared in float64."""
    agent = iq.learn(diary(kind), "WalkFar-v0" if kind == "naf" else "Walk-v0",
                     config(kind, **{"steps": 3} | changes))
    return {name: x.double() for name, x in weights(agent).items()}


@pytest.mark.parametrize("name", OTHER)
def test_every_field_changes_the_weights_that_are_learned(name):
    """A field that is taken but not used would leave them as they are."""
    kind = "naf" if name == "continuous" else "discrete"
    values = OTHER[name] if isinstance(OTHER[name], tuple) else (None, OTHER[name])
    first, other = (learned(kind, **{} if x is None else {name: x}) for x in values)
    assert first.keys() != other.keys() or any(
        first[k].shape != other[k].shape or (first[k] - other[k]).abs().max() > 1e-7
        for k in first)


def test_no_field_is_left_out_of_that():
    assert OTHER.keys() == set(FIELDS) - {"device"}
