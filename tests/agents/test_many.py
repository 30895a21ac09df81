"""Seeds trained at once are the agents that each would be alone."""
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

import iq

sys.path.append(str(Path(__file__).resolve().parents[2] / "book"))
import many  # noqa: E402

KINDS = {"SoftQ": (Discrete(3), {}), "SoftNAF": (Box(-1, 1, (2,), np.float32), {}),
         "SoftActorCritic": (Box(-1, 1, (2,), np.float32), {"continuous": "actor_critic"})}


def demonstrations(space, terminal, episodes=5, seed=0):
    """Episodes of ten random transitions; the last ones are terminal, or cut off."""
    rng = np.random.default_rng(seed)
    space.seed(seed)
    n = 10 * episodes
    obs = np.cumsum(rng.normal(size=(n + 1, 4)), 0).astype(np.float32)
    last = np.arange(n) % 10 == 9
    last[9::20] = False  # so that episodes differ in length
    return iq.Demos(space, observations=obs[:-1],
                    actions=np.array([space.sample() for _ in range(n)]),
                    next_observations=obs[1:] + rng.normal(size=(n, 1)) * last[:, None],
                    terminations=last & terminal, truncations=last & (not terminal))


def largest_difference(agent, alone):
    pairs = zip(agent.state_dict().values(), alone.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("change", [{}, {"value_term": "initial"}, {"absorbing": False}])
def test_offline_weights_are_as_alone(kind, terminal, change):
    space, own = KINDS[kind]
    demos = demonstrations(space, terminal)
    config = iq.Config(steps=200, hidden=32, **own, **change)
    agents = many.learn_many(demos, config=config, seeds=[3, 0, 7])
    for seed, agent in zip([3, 0, 7], agents):
        alone = iq.learn(demos, config=replace(config, seed=seed))
        assert agent.updates == alone.updates == 200
        assert agent.config == alone.config
        assert torch.equal(agent.generator.get_state(), alone.generator.get_state())
        assert largest_difference(agent, alone) < 1e-5
    assert largest_difference(*agents[:2]) > 0.01  # the seeds are not one
