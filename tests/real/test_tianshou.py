"""from_tianshou on tianshou itself."""

import numpy as np
import pytest
import readers
from truth import corridor, library, mixed, same, truth

tianshou = library("tianshou")


def policy_for(space):
    """A small policy with random weights, whose actions go beyond -1 to 1."""
    import torch
    from tianshou.algorithm.modelfree.reinforce import (
        DiscreteActorPolicy,
        ProbabilisticActorPolicy,
    )
    from tianshou.utils.net.common import Net
    from tianshou.utils.net.continuous import ContinuousActorProbabilistic
    from tianshou.utils.net.discrete import DiscreteActor
    from torch.distributions import Independent, Normal

    torch.manual_seed(0)
    net = Net(state_shape=(2,), hidden_sizes=[8])
    if hasattr(space, "n"):
        actor = DiscreteActor(preprocess_net=net, action_shape=space.n)
        return DiscreteActorPolicy(actor=actor, action_space=space)
    actor = ContinuousActorProbabilistic(
        preprocess_net=net, action_shape=(1,), unbounded=True)
    return ProbabilisticActorPolicy(
        actor=actor, dist_fn=lambda x: Independent(Normal(*x), 1), action_space=space)


def collect(discrete, environments, size, steps, **options):
    from tianshou.data import Collector, ReplayBuffer, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv

    witnesses = [corridor(discrete) for _ in range(environments)]
    policy = policy_for(witnesses[0].action_space)
    if environments == 1:
        buffer, venv = ReplayBuffer(size, **options), witnesses[0]
    else:
        buffer = VectorReplayBuffer(size, environments, **options)
        venv = DummyVectorEnv([lambda w=w: w for w in witnesses])
    collector = Collector(policy, venv, buffer)
    collector.reset(gym_reset_kwargs={"seed": 0})
    collector.collect(n_step=steps)
    return buffer, policy, witnesses


@pytest.mark.parametrize("environments", [1, 3])
@pytest.mark.parametrize("discrete", [True, False])
def test_what_a_collector_fills(discrete, environments):
    buffer, policy, witnesses = collect(discrete, environments, 600, 153)
    space = witnesses[0].action_space
    got = readers.from_tianshou(buffer, space, policy.map_action)
    same(got, truth(*witnesses), tolerance=1e-5)
    assert mixed(got) and not got.terminations[-1]
    if environments > 1:  # the trap
        assert (buffer.obs[:len(buffer)] == 0).all(1).any()


def test_actions_are_kept_before_they_are_mapped():
    buffer, policy, witnesses = collect(False, 2, 600, 150)
    space = witnesses[0].action_space
    kept = buffer[buffer.sample_indices(0)].act
    assert np.abs(kept).max() > 1 and kept.min() > space.low.min()
    with pytest.raises(ValueError, match="policy.map_action"):
        readers.from_tianshou(buffer, space)
    got = readers.from_tianshou(buffer, space, policy.map_action)
    np.testing.assert_allclose(got.actions, truth(*witnesses).actions, atol=1e-5)
    with pytest.raises(ValueError, match="action"):  # beyond the bounds, as they are
        readers.from_tianshou(buffer, space, map_action=False)


@pytest.mark.parametrize("environments", [1, 2])
def test_a_full_buffer_holds_the_last_rows(environments):
    buffer, _, witnesses = collect(True, environments, 60, 100)
    got = readers.from_tianshou(buffer, witnesses[0].action_space)
    kept = 60 // environments
    for name in "observations", "actions", "next_observations", "terminations":
        expected = [getattr(truth(w), name)[-kept:] for w in witnesses]
        np.testing.assert_allclose(getattr(got, name), np.concatenate(expected),
                                   atol=1e-6, err_msg=name)


def test_a_buffer_without_next_observations_is_refused():
    buffer, _, witnesses = collect(True, 2, 600, 60, ignore_obs_next=True)
    with pytest.raises(ValueError, match="ignore_obs_next"):
        readers.from_tianshou(buffer, witnesses[0].action_space)


def test_from_its_hdf5_file(tmp_path):
    from tianshou.data import VectorReplayBuffer

    buffer, _, witnesses = collect(True, 2, 600, 90)
    buffer.save_hdf5(str(tmp_path / "buffer.hdf5"))
    again = VectorReplayBuffer.load_hdf5(str(tmp_path / "buffer.hdf5"))
    got = readers.from_tianshou(again, witnesses[0].action_space)
    same(got, truth(*witnesses))
