"""Networks see inputs of a size that they can learn from, whatever their unit.

They see obs / obs_scale, whose root mean square in the demonstrations lies between two
bounds; an input between them is left as it is.
"""
import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from helpers import (
    ENVS,
    KINDS,
    arguments,
    make_config,
    make_demos,
    messages,
    same,
    weights,
)
from torch import nn

import iq

kinds = pytest.mark.parametrize("kind", KINDS)


def changed(demos, change):
    """The same demonstrations, whose observations are something else."""
    return iq.Demos(demos.action_space, **demos.columns | {
        name: change(demos.columns[name])
        for name in ("observations", "next_observations")})


def learned(demos, kind, **changes):
    return iq.learn(demos, config=make_config(kind, steps=30, **changes))


def scaled(agent, obs):
    """What the agent's networks see."""
    seen = []
    network = getattr(agent, "actor", agent.critic)
    hook = network.register_forward_hook(lambda net, inputs, out: seen.append(inputs[0]))
    agent.act(obs.numpy())
    hook.remove()
    return seen[0]


def without_scale(agent):
    return {name: x for name, x in weights(agent).items() if name != "obs_scale"}


LOW, HIGH = iq.SMALLEST, iq.LARGEST
BEYOND = {"large": [(2**10, 2**10), (2**30, 2**12)], "small": [(2**-20,) * 2,
          (2**-40, 2**-40)], "mixed": [(2**12, 2**-20), (2**20, 2**-30)]}


@kinds
@pytest.mark.parametrize("units", BEYOND.values(), ids=BEYOND)
def test_beyond_the_bounds_the_same_seed_learns_the_same_weights_in_any_unit(
        kind, units):
    """A power of 2 changes no digit: bit for bit."""
    first, other = (changed(make_demos(kind), lambda x, u=u: x * np.float32(u))
                    for u in units)
    one, two = learned(first, kind), learned(other, kind)
    ratio = np.divide(units[1], units[0])
    assert two.obs_scale.numpy() == pytest.approx(one.obs_scale.numpy() * ratio)
    a, b = without_scale(one), without_scale(two)
    for name in a:  # of a bound that is no power of 2, a last digit may differ
        assert torch.allclose(a[name], b[name], atol=1e-5), name
    assert np.array_equal(one.act(first.observations), two.act(other.observations)) or (
        kind != "discrete")
    plain, other = (learned(x, kind, scale_inputs=False) for x in (first, other))
    assert not same(without_scale(plain), without_scale(other))


@pytest.mark.parametrize("unit", [1e-8, 1e-4, 0.01, 0.1, 1.0, 7.0, 1e4, 1e12])
def test_inputs_of_any_unit_come_out_between_the_bounds(unit):
    demos = changed(make_demos(), lambda x: x * np.float32([unit, 1]))
    agent = iq.new_agent(demos, make_config())
    before = np.sqrt(np.square(demos.observations, dtype=float).mean(0))
    seen = scaled(agent, torch.as_tensor(demos.observations))
    after = seen.double().square().mean(0).sqrt().numpy()
    assert after == pytest.approx(before.clip(LOW, HIGH), rel=1e-5)
    inside = (LOW < before) & (before < HIGH)
    assert (agent.obs_scale.numpy()[inside] == 1).all()


@kinds
def test_a_constant_column_does_no_harm(kind):
    """Whatever it holds, its input is at most 1, as a second bias would be."""
    demos = make_demos(kind)
    for constant in 0.0, 1e-3, -7.0, 3e8, 1e-30:
        wide = changed(demos, lambda x, c=constant: np.column_stack(
            [x, np.full(len(x), c, np.float32)]))
        assert not messages(lambda wide=wide: learned(wide, kind))
        agent = learned(wide, kind)
        seen = scaled(agent, torch.as_tensor(wide.observations))[:, 2]
        expected = np.sign(constant) * np.clip(abs(constant), LOW, HIGH)
        assert seen.numpy() == pytest.approx(np.full(len(seen), expected), rel=1e-5)
        assert np.isfinite(agent.reward(*arguments(wide))).all()
        elsewhere = wide.observations + np.float32([0, 0, 0.5 * abs(constant)])
        assert np.isfinite(agent.log_prob(elsewhere, wide.actions)).all()


@pytest.mark.filterwarnings("ignore:.*(float32|reset)")
@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-46, 1e-42, 1e-38, 1e37])
def test_inputs_that_float32_can_hardly_tell_stay_finite(size):
    demos = changed(make_demos(), lambda x: x.astype(np.float64) * size)
    agent = learned(demos, "discrete")
    assert np.isfinite(agent.reward(*arguments(demos))).all()
    assert agent.obs_scale.isfinite().all() and (agent.obs_scale > 0).all()
    assert np.isfinite(agent.log_prob(*arguments(demos)[:2])).all()


@pytest.mark.parametrize("most", [256, 40])
def test_bytes_come_out_near_one_by_one_scale(most):
    rng = np.random.default_rng(0)
    images = rng.integers(0, most, (30, 3, 8, 8), np.uint8)
    images[:, :, :4] = 0  # a dark half, which may light up later
    ends = np.arange(29) == 28
    demos = iq.Demos(Discrete(2), images[:-1], rng.integers(2, size=29), images[1:],
                     ends, ends & False)
    agent = iq.new_agent(demos, make_config())
    seen = scaled(agent, torch.as_tensor(demos.observations))
    assert len(agent.obs_scale.unique()) == 1
    assert seen.square().mean().sqrt().item() == pytest.approx(1, rel=1e-3)
    assert seen.dtype == torch.float32 and seen.max() < 4


@kinds
def test_the_scale_is_by_the_root_mean_square_and_is_saved_with_the_agent(kind, tmp_path):
    demos = changed(make_demos(kind), lambda x: x * np.float32([100, 0.01]))
    agent = learned(demos, kind)
    size = np.sqrt(np.square(demos.observations, dtype=float).mean(0))
    scale = size / size.clip(LOW, HIGH)
    assert agent.obs_scale.numpy() == pytest.approx(scale, rel=1e-5)
    before = agent.obs_scale.clone()
    iq.learn(make_demos(kind), ENVS[kind], agent=agent)  # other inputs: the same scale
    assert torch.equal(agent.obs_scale, before)
    agent.save(tmp_path / "a.pt")
    back = iq.load(tmp_path / "a.pt")
    assert torch.equal(back.obs_scale, before)
    assert np.array_equal(back.act(demos.observations), agent.act(demos.observations))


@kinds
def test_scale_inputs_false_gives_ones(kind):
    demos = make_demos(kind)
    agent = iq.new_agent(demos, make_config(kind, scale_inputs=False))
    assert torch.equal(agent.obs_scale, torch.ones(2))
    obs = torch.as_tensor(demos.observations)
    assert torch.equal(scaled(agent, obs), obs)


@pytest.mark.parametrize("scale_inputs", [True, False])
def test_a_user_s_own_network_sees_scaled_inputs_unless_told_otherwise(scale_inputs):
    demos, seen = changed(make_demos(), lambda x: 1e4 * x), []

    class Watching(nn.Linear):
        def forward(self, obs):
            seen.append(obs.detach().abs().max().item())
            return super().forward(obs)

    agent = iq.new_agent(demos, make_config(scale_inputs=scale_inputs),
                         critic=Watching(2, 2))
    agent.act(demos.observations)
    iq.learn(demos, agent=agent)
    assert all(x < 10 for x in seen) if scale_inputs else max(seen) > 1e4
