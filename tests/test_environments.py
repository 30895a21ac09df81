"""Environments: elders, recording and evaluation."""
import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box
from tools import ENVS, KINDS, ODD, checkpoint, config, diary, same, walker

import iq


def by_hand(env_id, policy, seeds):
    """Episodes played one at a time, straight in the environment."""
    rows = []
    for i, seed in enumerate(seeds):
        env = gym.make(env_id)
        obs, ended, cut = env.reset(seed=seed)[0], False, False
        while not (ended or cut):
            action = policy(obs[None])[0]
            after, reward, ended, cut, _ = env.step(action)
            rows.append((obs, action, after, ended, cut, reward, i))
            obs = after
    return [np.array(x) for x in zip(*rows, strict=True)]


def steady(kind):
    """A policy that depends on nothing but what it sees, and ends in different ways."""
    if kind == "discrete":
        return lambda obs: (np.sin(9 * obs).sum(1) > -0.2).astype(np.int64)
    return lambda obs: np.float32(np.sin(9 * obs).sum(1, keepdims=True)).clip(-3, 1)


# ----------------------------------------------------------------------------- elders

def test_the_elder_of_cartpole_never_falls_and_wanders():
    demos = iq.record("CartPole-v1", iq.elder("CartPole-v1", seed=0), 20, seed=100)
    assert (demos.returns() == 500).all()
    place, speed, angle, turn = demos.observations.std(0)
    assert place > 0.05 and speed > 0.1 and angle > 0.01 and turn > 0.1
    assert 0.3 < demos.actions.mean() < 0.7


def test_the_elder_of_pendulum_is_expert_and_shows_the_swing_and_the_balance():
    demos = iq.record("Pendulum-v1", iq.elder("Pendulum-v1"), 200, seed=0)
    assert demos.returns()[:50].mean() >= -170 and demos.returns().mean() >= -170
    cos, sin, speed = demos.observations.T
    assert (cos < -0.9).any() and (sin > 0.9).any() and (sin < -0.9).any()
    assert np.ptp(speed) > 8 and np.ptp(demos.actions) == pytest.approx(4)
    at_the_end = cos.reshape(200, 200)[:, -20:]
    assert (at_the_end > 0.9).mean() > 0.9


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_an_elder_gives_actions_of_its_space_for_each_row(env_id):
    space = gym.make(env_id).observation_space
    obs = np.random.default_rng(0).normal(size=(7, *space.shape)).astype(space.dtype)
    actions = iq.elder(env_id)(obs)
    assert len(actions) == 7
    assert all(map(gym.make(env_id).action_space.contains, actions))


def test_the_elder_of_cartpole_draws_its_push_from_a_logistic_of_the_state():
    obs = np.random.default_rng(1).normal(0, [1, 0.5, 0.05, 0.3], (2000, 4))
    x, speed, angle, turn = obs.T
    logit = 1.5 * x + 4 * speed + 50 * angle + 10 * turn
    for seed in 0, 7:
        draws = np.random.default_rng(seed).random(2000)
        assert (iq.elder("CartPole-v1", seed)(obs) == (
            draws < 1 / (1 + np.exp(-logit)))).all()
    assert (iq.elder("CartPole-v1")(obs) == iq.elder("CartPole-v1", 0)(obs)).all()


@pytest.mark.parametrize("angle, speed, torque", [
    (math.pi / 3, 3.0, 1.5),  # 0.5 (15 - 7.5 - 4.5), with the swing
    (-math.pi / 3, -3.0, -1.5),
    (math.pi / 3, 4.0, -0.25),  # too fast: it brakes
    (math.acos(0.8), 0.0, 1.5),  # at rest it swings to the right
    (-0.35, 1.0, 0.8),  # on top: -8 angle - 2 speed
    (0.1, -0.2, -0.4),
    (2.5, -8.0, 2.0),  # below, though angle + 0.3 speed is small: still the swing
    (math.pi, 1.0, 2.0), (math.pi, -1.0, -2.0), (-0.4, 0.0, 2.0)])
def test_the_elder_of_pendulum_swings_to_the_energy_of_standing_and_balances(
        angle, speed, torque):
    obs = np.array([[math.cos(angle), math.sin(angle), speed]])
    assert iq.elder("Pendulum-v1")(obs) == pytest.approx(np.array([[torque]]), abs=1e-5)


def test_there_is_no_elder_for_other_valleys():
    with pytest.raises(ValueError, match=r"^environment without --demos is Acrobot-v1; "
                       r"allowed: CartPole-v1 \| Pendulum-v1$"):
        iq.elder("Acrobot-v1")


# -------------------------------------------------------------------------- recording

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", ["name", "environment"])
def test_a_diary_holds_exactly_what_happened(kind, given):
    env = ENVS[kind] if given == "name" else gym.make(ENVS[kind])
    demos = iq.record(env, steady(kind), 12, seed=5)
    true = by_hand(ENVS[kind], steady(kind), range(5, 17))
    for name, x in zip(iq.COLUMNS, true, strict=True):
        if name in ("terminations", "truncations", "episode_ids"):
            assert np.array_equal(getattr(demos, name), x), name
        else:
            assert getattr(demos, name) == pytest.approx(x, abs=1e-6), name
    assert demos.terminations.any() and demos.truncations.any()
    assert (demos.env_id, demos.action_space) == (
        ENVS[kind], gym.make(ENVS[kind]).action_space)


@pytest.mark.parametrize("kind", KINDS)
def test_side_by_side_is_the_same_as_one_at_a_time(kind):
    together = iq.record(ENVS[kind], steady(kind), 9, seed=3)
    apart = iq.record(gym.make(ENVS[kind]), steady(kind), 9, seed=3)
    assert all(same(getattr(together, k), getattr(apart, k)) for k in iq.COLUMNS)
    single = iq.record(ENVS[kind], steady(kind), 1, seed=7)
    rows = together.episode_ids == 4
    assert same(together.observations[rows], single.observations)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_diary(kind):
    a, b, c = (iq.record(ENVS[kind], walker(kind), 3, seed) for seed in (0, 0, 1))
    assert same(a.observations, b.observations) and same(a.actions, b.actions)
    assert not same(a.observations[0], c.observations[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_observation_is_the_true_one_and_never_that_of_a_reset(kind):
    demos = iq.record(ENVS[kind], walker(kind), 8, seed=0)
    steps, after = demos.observations[:, 1], demos.next_observations[:, 1]
    assert np.array_equal(after, steps + 1)  # a reset one would say 0
    assert (steps[demos.starts] == 0).all() and (steps[~demos.starts] > 0).all()
    place = demos.next_observations[:, 0]
    assert np.array_equal(np.abs(place) > 2, demos.terminations)
    assert np.array_equal(after == 20, demos.truncations)
    inner = ~(demos.terminations | demos.truncations)[:-1]
    assert same(demos.next_observations[:-1][inner], demos.observations[1:][inner])


def test_truncation_and_termination_are_kept_apart_also_where_both_come_at_once():
    class Both(gym.Env):
        observation_space, action_space = Box(-9, 9, (1,)), gym.spaces.Discrete(2)

        def reset(self, seed=None, options=None):
            super().reset(seed=seed)
            self.t, self.last = 0, 3 + seed % 3
            return np.zeros(1, np.float32), {}

        def step(self, action):
            self.t += 1
            end = self.t == self.last
            return (np.float32([self.t]), 1.0, end and self.last != 4,
                    end and self.last != 3, {})

    demos = iq.record(Both(), lambda obs: np.zeros(len(obs), int), 3, seed=0)
    ends = np.flatnonzero(np.append(demos.starts[1:], True))
    assert demos.terminations[ends].tolist() == [True, False, True]
    assert demos.truncations[ends].tolist() == [False, True, True]
    assert demos.returns().tolist() == [3, 4, 5]
    assert demos.env_id is None


@pytest.mark.parametrize("episodes", [0, -3])
def test_no_fewer_than_one_episode_is_recorded(episodes):
    text = f"^episodes is {episodes}; allowed: 1 or more$"
    with pytest.raises(iq.InputError, match=text):
        iq.record("CartPole-v1", iq.elder("CartPole-v1"), episodes, seed=0)


# ------------------------------------------------------------------------- evaluation

@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_plays_the_likeliest_actions_from_its_own_seeds(kind):
    agent = iq.learn(diary(kind), config=config(steps=20))
    *_, rewards, ids = by_hand(ENVS[kind], agent.act, range(30, 40))
    expected = [rewards[ids == i].sum() for i in range(10)]
    returns = iq.evaluate(agent, ENVS[kind], episodes=10, seed=30)
    assert returns.shape == (10,) and returns == pytest.approx(expected, abs=1e-4)
    given = iq.evaluate(agent, gym.make(ENVS[kind]), episodes=10, seed=30)
    assert given == pytest.approx(returns, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_leaves_the_agent_as_it_was(kind, tmp_path):
    agent = iq.learn(diary(kind), ENVS[kind], config(steps=20))
    agent.save(tmp_path / "before.pt")
    iq.evaluate(agent, ENVS[kind], episodes=3, seed=0)
    agent.save(tmp_path / "after.pt")
    assert same(checkpoint(tmp_path / "before.pt"), checkpoint(tmp_path / "after.pt"))


def test_an_agent_is_not_evaluated_in_another_environment():
    agent = iq.new_agent(diary(), config())
    for env in "CartPole-v1", gym.make("WalkFar-v0"):
        with pytest.raises(iq.InputError, match=r"^environment is \(.*Walk-v0"):
            iq.evaluate(agent, env, episodes=1, seed=0)


def test_an_agent_does_not_learn_from_the_diary_of_another_environment():
    other = replace(diary(), env_id="Elsewhere-v0")
    with pytest.raises(iq.InputError, match=r"^diary is \('Elsewhere-v0'.*Walk-v0"):
        iq.learn(other, agent=iq.new_agent(diary(), config()))


@pytest.mark.parametrize("env_id", [None, "Walk-v0", "tools:Walk-v0"])
def test_it_learns_from_a_diary_that_does_not_tell_or_names_the_module_too(env_id):
    agent = iq.new_agent(diary(), config())
    iq.learn(replace(diary(), env_id=env_id), config=config(steps=2), agent=agent)
    assert agent.updates == 2


# ----------------------------------------------------------- what can not be learned in

@pytest.mark.parametrize("name", ODD)
def test_an_environment_whose_spaces_can_not_be_learned_is_refused_by_them(name):
    seen, actions = ODD[name]
    wrong = actions if "Actions" in name else seen
    for env in name, gym.make(name):
        with pytest.raises(iq.InputError) as caught:
            iq.make(env)
        thing, allowed = ("action", "Discrete from 0, or a bounded Box of floats with "
                          "one axis") if wrong is actions else ("observation", "Box")
        assert str(caught.value) == f"{thing} space is {wrong}; allowed: {allowed}"
        with pytest.raises(iq.InputError):
            iq.record(env, lambda obs: obs, 1, seed=0)


@pytest.mark.parametrize("name", ["Nowhere-v0", "CartPole-v99", "", "no such thing",
                                  "no_such_module:Thing-v0", "a/b/c-v1"])
def test_an_unknown_environment_is_refused_by_name(name):
    with pytest.raises(iq.InputError) as caught:
        iq.make(name)
    assert str(caught.value).startswith(f"environment {name!r}: ")
