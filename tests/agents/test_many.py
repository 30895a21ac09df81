"""Seeds trained at once are the agents that each would be alone."""
import functools
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

BOX = Box(-1, 1, (2,), np.float32)
KINDS = {"SoftQ": (Discrete(3), {}), "SoftNAF": (BOX, {}),
         "SoftActorCritic": (BOX, {"continuous": "actor_critic"})}
CASES = [(True, {}), (False, {}), (True, {"absorbing": False}),
         (True, {"value_term": "initial", "chi2_on": "expert"})]  # terminal; of Config


def demonstrations(space, terminal, episodes=5, seed=0):
    """Random transitions; the last one of an episode is terminal, or cut off."""
    rng = np.random.default_rng(seed)
    space.seed(seed)
    n = 10 * episodes
    obs = np.cumsum(rng.normal(size=(n + 1, 4)), 0).astype(np.float32)
    last = np.isin(np.arange(n) % 25, [9, 24])  # of 10 and of 15 rows
    return iq.Demos(space, observations=obs[:-1],
                    actions=np.array([space.sample() for _ in range(n)]),
                    next_observations=obs[1:] + rng.normal(size=(n, 1)) * last[:, None],
                    terminations=last & terminal, truncations=last & (not terminal))


def largest_difference(agent, alone):
    pairs = zip(agent.state_dict().values(), alone.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("terminal, change", CASES)
def test_offline_weights_are_as_alone(kind, terminal, change):
    space, own = KINDS[kind]
    demos = demonstrations(space, terminal)
    config = iq.Config(steps=200, hidden=32, **own, **change)
    agents = many.learn_many(demos, config=config, seeds=[3, 0])
    for seed, agent in zip([3, 0], agents):
        alone = iq.learn(demos, config=replace(config, seed=seed))
        assert agent.updates == alone.updates == 200
        assert agent.config == alone.config
        assert torch.equal(agent.generator.get_state(), alone.generator.get_state())
        assert largest_difference(agent, alone) < 1e-5
    assert largest_difference(*agents) > 0.01  # the seeds are not one


@pytest.mark.parametrize("kind", KINDS)
def test_online_each_seed_has_its_own_environment(kind):
    own = KINDS[kind][1]
    env = "CartPole-v1" if kind == "SoftQ" else "Pendulum-v1"
    demos = iq.record(env, iq.scripted_expert(env), episodes=1, seed=0)
    config = iq.Config(steps=60, hidden=16, batch_size=16, **own)
    agents = many.learn_many(demos, env, config, seeds=[0, 5])
    for seed, agent in zip([0, 5], agents):
        alone = iq.learn(demos, env, replace(config, seed=seed))
        assert agent.replay.size == 60
        for ours, theirs in zip(agent.replay.columns, alone.replay.columns):
            torch.testing.assert_close(ours[:60], theirs[:60], rtol=0, atol=1e-4)
        assert torch.equal(agent.generator.get_state(), alone.generator.get_state())
        assert largest_difference(agent, alone) < 1e-4
        iq.learn(demos, env, agent=agent)  # it goes on as any other
        assert agent.replay.size == 120


def test_evaluations_are_as_alone():
    demos = iq.record("CartPole-v1", iq.scripted_expert("CartPole-v1"), 1, seed=0)
    agents = many.learn_many(demos, config=iq.Config(steps=30), seeds=[0, 1, 2])
    returns = many.evaluate_many(agents, "CartPole-v1", 3, seeds=[7, 8, 9])
    for agent, seed, got in zip(agents, [7, 8, 9], returns):
        assert (got == iq.evaluate(agent, "CartPole-v1", 3, seed)).all()


def test_each_seed_may_have_demonstrations_of_its_own():
    space, own = KINDS["SoftQ"]
    diaries = [demonstrations(space, True, seed=x, episodes=x + 4) for x in range(2)]
    config = iq.Config(steps=100, hidden=16)
    for seed, agent in enumerate(many.learn_many(diaries, config=config, seeds=[0, 1])):
        alone = iq.learn(diaries[seed], config=replace(config, seed=seed))
        assert largest_difference(agent, alone) < 1e-5


def test_a_callback_may_end_it_and_see_the_weights():
    demos = demonstrations(Discrete(3), False)
    seen = []

    def callback(step, agents):
        seen.append([x.critic[0].weight[0, 0].item() for x in agents])
        if step == 5:
            raise StopIteration

    agents = many.learn_many(demos, config=iq.Config(hidden=8), callback=callback)
    assert len(seen) == 5 and [x.updates for x in agents] == [5] * 5
    assert seen[-1] == [x.critic[0].weight[0, 0].item() for x in agents] != seen[-2]


def test_gradients_are_clipped_by_seed_and_none_may_be_infinite():
    demos = demonstrations(Discrete(3), False)
    demos.observations[:, 0] *= 1e4  # large gradients, for the inputs stay as they are
    config = iq.Config(steps=50, hidden=16, chi2_alpha=0.001, scale_inputs=False)
    for seed, agent in enumerate(many.learn_many(demos, config=config, seeds=range(2))):
        alone = iq.learn(demos, config=replace(config, seed=seed))
        assert largest_difference(agent, alone) < 1e-5
    with pytest.raises(RuntimeError, match="not finite"):
        many.learn_many(demos, config=replace(config, chi2_alpha=1e-6, temperature=1e6),
                        loss=lambda agent, batch, is_expert: (
                            agent.q_and_value(None, None)[0].mean() * float("inf"),))


def squared_bellman_error(agent, batch, is_expert):
    """A loss of one's own, of rewards that are 1 for the expert."""
    q, value = agent.q_and_value(batch.obs, batch.action)
    rows = q, value, agent.next_value(batch, agent.target), is_expert
    rows = iq.append_absorbing(*rows, batch.terminated, agent.absorbing_value)
    reward = iq.inverse_bellman(rows[0], rows[2], agent.config.gamma)
    loss = (reward - rows[3].float()).square().mean()
    return loss, {"loss": loss.detach()}, value


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_of_ones_own_is_descended_as_alone(kind):
    space, own = KINDS[kind]
    demos = demonstrations(space, True)
    config = iq.Config(steps=100, hidden=16, batch_size=16, **own)
    agents = many.learn_many(demos, config=config, seeds=range(3),
                             loss=squared_bellman_error)
    for seed, agent in enumerate(agents):
        alone = iq.new_agent(demos, replace(config, seed=seed))
        alone.loss = functools.partial(squared_bellman_error, alone)
        iq.learn(demos, agent=alone)
        assert largest_difference(agent, alone) < 1e-5
