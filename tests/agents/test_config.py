"""Config: a frozen table of hyperparameters, each checked when it is made."""
import dataclasses
import math

import numpy as np
import pytest
import torch
from helpers import ENVS, make_config, make_demos, weights

import iq

NUMBERS = {  # field: values out of range
    "gamma": (-0.1, 1.0), "temperature": (0.0, -1.0), "chi2_alpha": (0.0, -0.5),
    "learning_rate": (0.0, 2.0), "target_rate": (0.0, 1.1), "hidden": (0, 1.5, 10**9),
    "batch_size": (0, 1.5, 10**12), "steps": (0, 1.5), "seed": (-1, 1.5, 2**31),
    "value_term": (-0.1, 2.5)}
WORDS = {
    "divergence": set(iq.DIVERGENCES), "chi2_on": {"expert", "mixture"},
    "absorbing": {False, True}, "scale_inputs": {False, True},
    "continuous": {"naf", "actor_critic"}, "device": {"cpu"}}
FIELDS = [f.name for f in dataclasses.fields(iq.Config)]


def refusal(**fields):
    with pytest.raises(ValueError) as caught:
        iq.Config(**fields)
    return str(caught.value)


def test_every_field_is_tried_here():
    assert set(FIELDS) == NUMBERS.keys() | WORDS.keys()


@pytest.mark.parametrize("name", NUMBERS)
def test_a_bad_number_is_refused_with_field_value_and_range(name):
    for value in (*NUMBERS[name], math.nan, math.inf, -math.inf, "much", [], (1,), True):
        said, _, allowed = refusal(**{name: value}).partition("allowed: ")
        assert name in said and repr(value) in said and type(value).__name__ in said
        low, high = iq.RANGES[name]
        assert f"from {low} to {high}" in allowed and "\n" not in allowed
        assert ("initial" in allowed) == (name == "value_term")
    if name != "value_term":  # of which None is the agent's default
        assert "None" in refusal(**{name: None})


@pytest.mark.parametrize("name", set(WORDS) - {"device"})
def test_a_bad_word_is_refused_with_field_value_and_choices(name):
    for value in "unknown", "", 2, None, math.nan, []:
        said, _, allowed = refusal(**{name: value}).partition("allowed: ")
        assert name in said and repr(value) in said
        assert all(str(word) in allowed for word in WORDS[name])


@pytest.mark.parametrize("name, value", [
    ("steps", 1e5), ("hidden", 64.0), ("batch_size", 32.0), ("seed", 0.0)])
def test_a_float_for_a_whole_number_is_refused_by_its_type(name, value):
    """1e5 lies in the range of steps: what is wrong with it is that it is a float."""
    said = refusal(**{name: value})
    assert "float" in said and "whole number" in said


@pytest.mark.parametrize("name", FIELDS)
def test_every_word_and_a_whole_number_within_the_range_is_accepted(name):
    whole = 0 if name == "gamma" else 1
    for value in WORDS.get(name, {whole}):
        assert getattr(iq.Config(**{name: value}), name) == value
    assert iq.Config(value_term="initial").value_term == "initial"


@pytest.mark.parametrize("device", ["cuda:1", "mps", "xpu", "meta", "gpu", "", 3, None])
def test_a_device_that_is_not_there_is_refused(device):
    if device == "cuda:1" and torch.cuda.device_count() > 1:
        pytest.skip("there are two GPUs")
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is an Apple GPU")
    if device == 3 and torch.cuda.device_count() > 3:
        pytest.skip("there are four GPUs")
    said = refusal(device=device)
    assert "device" in said and repr(device) in said and "cpu" in said
    assert "\n" not in said


def test_a_divergence_of_one_s_own_is_a_legal_word_at_once(monkeypatch):
    monkeypatch.setitem(iq.DIVERGENCES, "mine", lambda r: r - r.square())
    own = iq.learn(make_demos(), config=make_config(divergence="mine"))
    chi2 = iq.learn(make_demos(), config=make_config(
        divergence="chi2", chi2_alpha=0.25, chi2_on="expert"))
    for name, x in weights(chi2).items():
        assert torch.allclose(weights(own)[name], x, atol=1e-4), name
    monkeypatch.delitem(iq.DIVERGENCES, "mine")
    assert "mine" in refusal(divergence="mine")


def test_a_config_does_not_change_once_made_and_has_no_other_field():
    with pytest.raises(dataclasses.FrozenInstanceError):
        iq.Config().gamma = 0.5
    assert iq.Config(gamma=0.5) == iq.Config(gamma=0.5) != iq.Config(gamma=0.6)
    with pytest.raises(TypeError, match="gama"):
        iq.Config(gama=0.9)


NUMPY = {"gamma": np.float64(0.9), "temperature": np.float32(0.25),
         "learning_rate": np.float64(1e-3), "hidden": np.int64(8),
         "batch_size": np.uint8(8), "steps": np.int32(2), "absorbing": np.bool_(False),
         "divergence": np.str_("hellinger"), "value_term": np.float16(0.5)}


def test_numbers_of_numpy_become_python_s_and_survive_a_file(tmp_path):
    c = iq.Config(**NUMPY)
    assert c == iq.Config(**{name: x.item() for name, x in NUMPY.items()})
    assert not any(isinstance(getattr(c, name), np.generic) for name in FIELDS)
    iq.learn(make_demos(), config=c).save(tmp_path / "agent.pt")
    assert iq.load(tmp_path / "agent.pt").config == c


# ------------------------------------------------- every field changes what is learned

OTHER = {
    "gamma": 0.5, "temperature": 1.7, "divergence": "hellinger", "chi2_alpha": 0.01,
    "chi2_on": ("mixture", "expert"), "value_term": ("initial", 0.3), "hidden": 9,
    "absorbing": (False, True), "scale_inputs": (False, True), "learning_rate": 0.02,
    "target_rate": 0.9, "batch_size": 9, "steps": 4, "seed": 1,
    "continuous": ("naf", "actor_critic")}


def learned(kind, **changes):
    """Adam hides the length of gradients: the first steps are compared in float64."""
    agent = iq.learn(make_demos(kind), ENVS[kind],
                     make_config(kind, **{"steps": 3} | changes))
    return {name: x.double() for name, x in weights(agent).items()}


@pytest.mark.parametrize("name", OTHER)
def test_every_field_changes_the_weights_that_are_learned(name):
    """A field that is accepted but not used would leave them as they are."""
    kind = "naf" if name == "continuous" else "discrete"
    values = OTHER[name] if isinstance(OTHER[name], tuple) else (None, OTHER[name])
    first, other = (learned(kind, **{} if x is None else {name: x}) for x in values)
    keys = first.keys() - {"obs_scale"}
    assert first.keys() != other.keys() or any(
        first[k].shape != other[k].shape or (first[k] - other[k]).abs().max() > 1e-7
        for k in keys)


def test_no_field_is_left_out_of_that():
    assert OTHER.keys() == set(FIELDS) - {"device"}
