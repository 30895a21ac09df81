"""from_imitation and to_imitation on imitation itself (which pins gymnasium 0.29)."""

import numpy as np
import pytest
import readers
from truth import corridor, library, mixed, same, truth

import iq

imitation = library("imitation")


def rollouts(discrete=True, count=12, **options):
    """Trajectories that imitation's own rollout makes, and the witnesses' truth."""
    from imitation.data import rollout
    from imitation.data.wrappers import RolloutInfoWrapper
    from stable_baselines3.common.vec_env import DummyVecEnv

    witnesses = [corridor(discrete), corridor(discrete)]
    venv = DummyVecEnv([lambda w=w: RolloutInfoWrapper(w) for w in witnesses])
    venv.seed(0)
    venv.action_space.seed(0)
    trajectories = rollout.rollout(
        None, venv, rollout.make_sample_until(min_episodes=count),
        rng=np.random.default_rng(0), **options)
    return trajectories, witnesses


def in_order(demos):
    """Episodes by their first observation: imitation shuffles them."""
    parts = np.split(np.arange(len(demos)), np.flatnonzero(demos.starts)[1:])
    parts.sort(key=lambda rows: tuple(np.float32(demos.observations[rows[0]])))
    rows = np.concatenate(parts)
    ids = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    return iq.Demos(demos.action_space, episode_ids=ids, **{
        name: getattr(demos, name)[rows] for name in (
            "observations", "actions", "next_observations", "terminations",
            "truncations", "rewards")})


def finished(witnesses):
    """The truth, without what imitation dropped: episodes that were not finished."""
    for w in witnesses:
        w.episodes[:] = [e for e in w.episodes
                         if e["actions"] and (e["ends"][-1] or len(e["ends"]) == 6)]
    return in_order(truth(*witnesses))


@pytest.mark.parametrize("discrete", [True, False])
def test_infos_tell_ends_from_time_limits(discrete):
    trajectories, witnesses = rollouts(discrete, exclude_infos=False)
    assert all(t.terminal for t in trajectories)  # the trap: True at time limits, too
    got = in_order(readers.from_imitation(trajectories, witnesses[0].action_space))
    expected = finished(witnesses)
    kept = set(map(tuple, got.observations[got.starts]))
    rows = np.array([tuple(x) in kept for x in expected.observations[expected.starts]])
    rows = rows[expected.starts.cumsum() - 1]
    expected = in_order(iq.Demos(
        expected.action_space, episode_ids=expected.starts.cumsum()[rows], **{
            name: getattr(expected, name)[rows] for name in (
                "observations", "actions", "next_observations", "terminations",
                "truncations", "rewards")}))
    same(got, expected)
    assert mixed(got) and got.starts.sum() == len(trajectories)


def test_without_infos_it_asks():
    trajectories, witnesses = rollouts()
    space = witnesses[0].action_space
    assert trajectories[0].infos is None
    with pytest.raises(ValueError, match="exclude_infos=False"):
        readers.from_imitation(trajectories, space)
    cuts = [len(t) == 6 for t in trajectories]
    for said in True, False, [not x for x in cuts]:
        got = readers.from_imitation(trajectories, space, terminated=said)
        ends = got.terminations[got.terminations | got.truncations]
        assert np.array_equal(ends, np.broadcast_to(said, len(trajectories)))


@pytest.mark.parametrize("discrete", [True, False])
def test_a_file_tells_what_was_kept(tmp_path, discrete):
    from imitation.data import serialize

    trajectories, witnesses = rollouts(discrete, exclude_infos=False)
    space = witnesses[0].action_space
    serialize.save(tmp_path / "kept", trajectories)
    expected = readers.from_imitation(trajectories, space)
    got = readers.from_imitation(serialize.load(tmp_path / "kept"), space)
    same(got, expected, types=False)
    assert got.observations.dtype == np.float64  # whatever was saved
    bare, _ = rollouts(discrete)
    serialize.save(tmp_path / "bare", bare)
    with pytest.raises(ValueError, match="exclude_infos=False"):
        readers.from_imitation(serialize.load(tmp_path / "bare"), space)


def test_fragments_are_broken_off_and_need_no_infos():
    from imitation.data.wrappers import BufferingWrapper
    from stable_baselines3.common.vec_env import DummyVecEnv

    witness = corridor()
    venv = BufferingWrapper(DummyVecEnv([lambda: witness]))
    venv.seed(0)
    venv.reset()
    rng = np.random.default_rng(0)
    for _ in range(3):
        venv.step(rng.integers(0, 3, 1))
    assert not truth(witness).terminations.any()
    trajectories, _ = venv.pop_trajectories()
    assert [t.terminal for t in trajectories] == [False]
    import dataclasses
    bare = [dataclasses.replace(t, infos=None) for t in trajectories]
    same(readers.from_imitation(bare, witness.action_space), truth(witness))


@pytest.mark.parametrize("discrete", [True, False])
def test_there_and_back(tmp_path, discrete):
    from imitation.data import serialize

    env = corridor(discrete)
    env.action_space.seed(0)
    demos = iq.record(env, lambda obs: env.action_space.sample(), 12, seed=0)
    assert mixed(demos)
    trajectories = readers.to_imitation(demos)
    same(readers.from_imitation(trajectories, env.action_space), demos, tolerance=0)
    serialize.save(tmp_path / "mine", trajectories)
    again = readers.from_imitation(serialize.load(tmp_path / "mine"), env.action_space)
    same(again, demos, types=False)
    with pytest.raises(ValueError, match="before subsample"):
        readers.to_imitation(demos.subsample(2))


def test_imitations_own_clone_learns_from_them():
    from imitation.algorithms import bc

    env = corridor()
    demos = iq.record(env, lambda obs: int(obs[0] > 1.5), 30, seed=0)
    clone = bc.BC(observation_space=env.observation_space, rng=np.random.default_rng(0),
                  action_space=env.action_space,
                  demonstrations=readers.to_imitation(demos))
    clone.train(n_epochs=80, progress_bar=False)
    moves = clone.policy.predict(demos.observations, deterministic=True)[0]
    assert (moves == demos.actions).mean() > 0.9


def test_a_dict_asks_for_its_keys():
    from imitation.data.types import DictObs, Trajectory

    obs = DictObs({"place": np.arange(4.0)[:, None], "clock": np.ones((4, 2))})
    whole = [Trajectory(obs=obs, acts=np.zeros(3, int), infos=None, terminal=False)]
    space = corridor().action_space
    with pytest.raises(ValueError, match=r"\['clock', 'place'\]"):
        readers.from_imitation(whole, space)
    got = readers.from_imitation(whole, space, keys=["place", "clock"])
    assert np.array_equal(got.observations[:, 0], [0, 1, 2])


def test_iq_learns_under_this_gymnasium():
    """iq.py asks for gymnasium 1.0 where pip installs it; alone, it runs here, too."""
    expert = getattr(iq, "scripted_expert", None) or iq.elder
    demos = iq.record("CartPole-v1", expert("CartPole-v1"), 1, seed=0)
    agent = iq.learn(demos, config=iq.Config(steps=1000))
    assert iq.evaluate(agent, "CartPole-v1", 5, seed=1).mean() > 200
