"""from_sb3 and from_sb3_buffer on Stable-Baselines3 and sb3-contrib themselves."""

import gymnasium as gym
import numpy as np
import pytest
import readers
from truth import corridor, library, mixed, same, truth

import iq

sb3 = library("stable_baselines3")


def small(kind, env, **options):
    """A model that has learned for a moment: what it does must only be its own."""
    policy = "MlpLstmPolicy" if kind.__name__ == "RecurrentPPO" else "MlpPolicy"
    return kind(policy, env, n_steps=32, batch_size=32, n_epochs=2, seed=0,
                device="cpu", **options)


def evaluated(model, venv, witness, episodes, deterministic=True):
    """What the library's own evaluation sees, from seed 0."""
    from stable_baselines3.common.evaluation import evaluate_policy

    venv.seed(0)
    evaluate_policy(model, venv, episodes, deterministic)
    # evaluate_policy resets once more at the end of the last episode
    return truth(witness).take(episodes)


@pytest.mark.parametrize("discrete", [True, False])
def test_the_policy_is_played_as_the_library_plays_it(discrete):
    model = small(sb3.PPO, corridor(discrete)).learn(64)
    witness = corridor(discrete)
    venv = sb3.common.vec_env.DummyVecEnv([lambda: witness])
    expected = evaluated(model, venv, witness, 20)
    got = readers.from_sb3(model, corridor(discrete), 20)
    same(got, expected)
    assert mixed(got)


def test_predict_draws_unless_it_is_told():
    model = small(sb3.PPO, "CartPole-v1").learn(64)
    first = readers.from_sb3(model, "CartPole-v1", 3, seed=1)
    same(readers.from_sb3(model, "CartPole-v1", 3, seed=1), first)
    drawn = readers.from_sb3(model, "CartPole-v1", 3, seed=1, deterministic=False)
    modes = model.predict(drawn.observations, deterministic=True)[0]
    assert 0.1 < (modes != drawn.actions).mean() < 0.9
    assert np.array_equal(
        model.predict(first.observations, deterministic=True)[0], first.actions)


@pytest.fixture(scope="module")
def normalized(tmp_path_factory):
    """A model under VecNormalize, trained, and both files on disk."""
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    def far_off():
        return gym.wrappers.TransformObservation(
            gym.make("CartPole-v1"), lambda obs: 20 * obs + 50,
            gym.spaces.Box(-np.inf, np.inf, (4,)))

    venv = VecNormalize(DummyVecEnv([far_off]))
    model = sb3.PPO("MlpPolicy", venv, seed=0, n_steps=256, device="cpu").learn(8192)
    venv.training = False
    folder = tmp_path_factory.mktemp("sb3")
    model.save(folder / "model.zip")
    venv.save(folder / "statistics.pkl")
    return model, far_off, folder


def test_a_normalized_expert_sees_what_it_was_trained_on(normalized):
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
    from truth import Witness

    model, far_off, folder = normalized
    witness = Witness(far_off())
    venv = VecNormalize.load(folder / "statistics.pkl", DummyVecEnv([lambda: witness]))
    venv.training = False
    expected = evaluated(model, venv, witness, 10)
    got = readers.from_sb3(model, far_off(), 10)
    same(got, expected, types=False)  # env's own: not normalized
    blind = readers.from_sb3(model, far_off(), 10, vec_normalize=False)
    print("normalized", got.returns().mean(), "blind", blind.returns().mean())
    assert got.returns().mean() > 3 * blind.returns().mean()


def test_a_model_that_was_loaded_alone_asks(normalized):
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    model, far_off, folder = normalized
    alone = sb3.PPO.load(folder / "model.zip", device="cpu")
    with pytest.raises(ValueError, match="VecNormalize.load"):
        readers.from_sb3(alone, far_off(), 2)
    statistics = VecNormalize.load(folder / "statistics.pkl", DummyVecEnv([far_off]))
    got = readers.from_sb3(alone, far_off(), 3, vec_normalize=statistics)
    same(got, readers.from_sb3(model, far_off(), 3), tolerance=0)


def test_a_recurrent_policy_gets_its_state_and_it_is_reset():
    contrib = library("sb3_contrib")
    model = small(contrib.RecurrentPPO, corridor(False, limit=9)).learn(96)
    witness = corridor(False, limit=9)
    venv = sb3.common.vec_env.DummyVecEnv([lambda: witness])
    expected = evaluated(model, venv, witness, 10)
    got = readers.from_sb3(model, corridor(False, limit=9), 10)
    same(got, expected, tolerance=1e-5)
    forgetful = iq.record(corridor(False, limit=9), lambda obs: model.predict(
        obs, deterministic=True)[0], 10, seed=0)
    rows = min(len(got), len(forgetful))
    assert np.abs(got.actions[:rows] - forgetful.actions[:rows]).max() > 1e-4
    two = readers.from_sb3(model, corridor(False, limit=9), 2)
    same(two, got.take(2), tolerance=0)


@pytest.mark.parametrize("size", [400, 90])  # room for all, and for the last ones
@pytest.mark.parametrize("discrete", [True, False])
def test_replay_buffers(discrete, size):
    from stable_baselines3.common.vec_env import DummyVecEnv

    witnesses = [corridor(discrete), corridor(discrete)]
    venv = DummyVecEnv([lambda i=i: witnesses[i] for i in range(2)])
    kind = sb3.DQN if discrete else sb3.SAC
    model = kind("MlpPolicy", venv, buffer_size=size, learning_starts=40, seed=0,
                 batch_size=8, train_freq=4, device="cpu").learn(151)
    got = readers.from_sb3_buffer(model.replay_buffer)
    if size == 400:
        same(got, truth(*witnesses), tolerance=1e-5)
        assert mixed(got)
        return
    kept = size // 2  # the last rows of each environment
    rows = [r for w in witnesses for r in [*range(len(truth(w)))][-kept:]]
    all_rows = [truth(w) for w in witnesses]
    for name in ("observations", "next_observations", "actions", "rewards",
                 "terminations", "truncations"):
        expected = np.concatenate([getattr(x, name)[-kept:] for x in all_rows])
        np.testing.assert_allclose(getattr(got, name), expected, atol=1e-5,
                                   err_msg=name)
    assert len(got) == len(rows)


def test_a_buffer_under_vecnormalize_keeps_the_environments_own_numbers():
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    witness = corridor()
    venv = VecNormalize(DummyVecEnv([lambda: witness]))
    model = sb3.DQN("MlpPolicy", venv, learning_starts=10_000, seed=0, device="cpu")
    model.learn(100)
    same(readers.from_sb3_buffer(model.replay_buffer), truth(witness), tolerance=1e-4)


def test_a_buffer_that_cannot_tell_ends_asks():
    witness = corridor()
    model = sb3.DQN("MlpPolicy", witness, learning_starts=1000, seed=0, device="cpu",
                    replay_buffer_kwargs={"handle_timeout_termination": False})
    model.learn(80)
    with pytest.raises(ValueError, match="terminated=True"):
        readers.from_sb3_buffer(model.replay_buffer)
    for said in True, False:
        got = readers.from_sb3_buffer(model.replay_buffer, terminated=said)
        ends = truth(witness).terminations | truth(witness).truncations
        ends[-1] = model.replay_buffer.dones[79, 0]
        assert np.array_equal(got.terminations, ends & said)
        assert np.array_equal(got.starts, truth(witness).starts)


def test_buffers_that_lose_the_end_are_refused():
    model = sb3.DQN("MlpPolicy", corridor(), learning_starts=1000, device="cpu",
                    optimize_memory_usage=True,
                    replay_buffer_kwargs={"handle_timeout_termination": False})
    model.learn(40)
    with pytest.raises(ValueError, match="from_sb3"):
        readers.from_sb3_buffer(model.replay_buffer)
    ppo = small(sb3.PPO, corridor(False)).learn(64)
    space = corridor(False).action_space
    assert np.abs(ppo.rollout_buffer.actions).max() > space.high.max()  # not clipped
    with pytest.raises(ValueError, match="from_sb3"):
        readers.from_sb3_buffer(ppo.rollout_buffer)
