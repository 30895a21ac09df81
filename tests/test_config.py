"""Config: one frozen table of choices, each checked when it is made."""
import dataclasses
import math

import pytest
import torch
from gymnasium.spaces import Box, Discrete

import iq

NUMBERS = {
    "gamma": (-0.1, 1.0, 1.5),
    "temperature": (0.0, -1.0),
    "chi2_alpha": (0.0, -0.5),
    "critic_lr": (0.0, -1e-3, 2.0),
    "actor_lr": (0.0, -1e-3, 2.0),
    "target_rate": (0.0, -0.1, 1.1),
    "actor_average": (0.0, -0.1, 1.1),
    "grad_clip": (0.0, -1.0),
    "hidden": (0, -1, 1.5, 10**9),
    "batch_size": (0, -1, 1.5, 10**12),
    "steps": (0, -1, 1.5),
    "replay_size": (0, -1, 1.5),
    "log_every": (0, -1, 1.5),
    "seed": (-1, 1.5, 2**64),
}
NAMES = {
    "divergence": {"chi2", "reverse_kl", "forward_kl", "hellinger", "jensen_shannon",
                   "total_variation", "wasserstein"},
    "chi2_on": {"expert", "mixture"},
    "value_term": {"initial", "expert", "mixture"},
    "standardize": {False, True},
    "absorbing": {False, True},
    "device": {"auto", "cpu", "cuda"},
}
NONSENSE = math.nan, math.inf, -math.inf, "much", [], (1,)
OPTIONAL = {"temperature", "chi2_on", "value_term", "target_rate", "steps"}
FIELDS = [f.name for f in dataclasses.fields(iq.Config)]
BAD = ([(k, x) for k, bad in NUMBERS.items() for x in (*bad, *NONSENSE, True)]
       + [(k, x) for k in NAMES for x in ("unheard of", "", 2, math.nan)]
       + [(k, None) for k in FIELDS if k not in OPTIONAL])


def test_every_field_is_tried_below():
    assert set(FIELDS) == NUMBERS.keys() | NAMES.keys()


@pytest.mark.parametrize("name, value", BAD)
def test_a_bad_value_is_refused_by_a_message_with_field_value_and_what_is_allowed(
        name, value):
    with pytest.raises(ValueError) as caught:
        iq.Config(**{name: value})
    before, _, allowed = str(caught.value).partition("allowed: ")
    assert name in before and repr(value) in before
    assert "\n" not in str(caught.value)
    if name in NAMES:
        assert all(str(choice) in allowed for choice in NAMES[name])
    else:
        (field,) = (f for f in dataclasses.fields(iq.Config) if f.name == name)
        least, most = field.metadata["allowed"]
        assert allowed == f"{type(least).__name__} from {least} to {most}"


@pytest.mark.parametrize("name", NAMES)
def test_every_choice_named_is_taken(name):
    for value in NAMES[name] - {"cuda"}:
        assert getattr(iq.Config(**{name: value}), name) == value


@pytest.mark.parametrize("name", NUMBERS)
def test_a_whole_number_does_for_a_number_where_it_is_within_the_range(name):
    value = 0 if name == "gamma" else 1
    assert getattr(iq.Config(**{name: value}), name) == value


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(iq.InputError) as error:
        iq.Config(device="cuda")
    assert str(error.value) == (
        "device is cuda, which torch doesn't see here; allowed: auto | cpu")


def test_a_config_does_not_change_once_made():
    with pytest.raises(dataclasses.FrozenInstanceError):
        iq.Config().gamma = 0.5
    assert iq.Config(gamma=0.5) == iq.Config(gamma=0.5) != iq.Config(gamma=0.6)


@pytest.mark.parametrize("space", [Discrete(3), Box(-2, 2, (1,))])
def test_none_is_filled_from_the_defaults_for_the_kind_of_action(space):
    full, defaults = iq.Config().complete(space), iq.DEFAULTS[type(space)]
    assert defaults.keys() == OPTIONAL
    assert {k: getattr(full, k) for k in OPTIONAL} == defaults
    assert None not in dataclasses.asdict(full).values()


def test_what_is_given_is_never_replaced_by_a_default():
    given = iq.Config(temperature=0.3, chi2_on="mixture", value_term="mixture",
                      target_rate=0.5, steps=7, gamma=0.8)
    for space in Discrete(2), Box(-1, 1, (2,)):
        assert given.complete(space) == given


def test_the_defaults_are_themselves_within_what_is_allowed():
    for defaults in iq.DEFAULTS.values():
        assert iq.Config(**defaults).steps == defaults["steps"]


def test_every_field_is_explained():
    for f in dataclasses.fields(iq.Config):
        assert len(f.metadata["text"].split()) > 1, f.name


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="gama"):
        iq.Config(gama=0.9)
