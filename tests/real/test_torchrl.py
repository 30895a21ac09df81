"""from_torchrl on torchrl itself."""

import numpy as np
import pytest
import readers
from truth import corridor, library, mixed, same, truth

torchrl = library("torchrl")


def wrapped(witness, **options):
    from torchrl.envs import GymWrapper

    return GymWrapper(witness, **options)


def collect(witness, steps, batches=1, **options):
    """Random steps through a collector, in batches that cut episodes in two."""
    import torch
    from torchrl.collectors import Collector

    torch.manual_seed(0)
    collector = Collector(wrapped(witness, **options), None, frames_per_batch=steps,
                          total_frames=steps * batches)
    data = [batch.clone() for batch in collector]
    collector.shutdown()
    return torch.cat(data)


@pytest.mark.parametrize("discrete", [True, False])
def test_what_a_collector_gives(discrete):
    witness = corridor(discrete)
    data = collect(witness, 103)
    got = readers.from_torchrl(data, witness.action_space)
    same(got, truth(witness), tolerance=1e-5)
    assert mixed(got)
    lagging = data["terminated"].reshape(-1).numpy()  # the trap: the root's flag
    assert not np.array_equal(lagging, got.terminations)


def test_batches_joined_in_time():
    witness = corridor()
    data = collect(witness, 31, batches=3)
    same(readers.from_torchrl(data, witness.action_space), truth(witness))


def test_one_hot_or_categorical():
    for options in {}, {"categorical_action_encoding": True}:
        witness = corridor()
        data = collect(witness, 60, **options)
        assert (data["action"].ndim == 2) is not bool(options)
        got = readers.from_torchrl(data, witness.action_space)
        assert np.array_equal(got.actions, truth(witness).actions)


@pytest.mark.parametrize("discrete", [True, False])
def test_several_environments_at_once(discrete):
    import torch
    from torchrl.envs import SerialEnv

    witnesses = [corridor(discrete), corridor(discrete)]
    torch.manual_seed(0)
    env = SerialEnv(2, [lambda w=w: wrapped(w) for w in witnesses])
    data = env.rollout(40, break_when_any_done=False)
    assert data.shape == (2, 40)
    got = readers.from_torchrl(data, witnesses[0].action_space)
    same(got, truth(*witnesses), tolerance=1e-5)
    assert mixed(got)


def test_a_rollout_that_stopped_and_a_replay_buffer():
    from torchrl.data import LazyTensorStorage, ReplayBuffer

    witness = corridor()
    env = wrapped(witness)
    env.set_seed(0)
    data = env.rollout(3)
    same(readers.from_torchrl(data, witness.action_space), truth(witness))
    witness = corridor()
    data = collect(witness, 80)
    buffer = ReplayBuffer(storage=LazyTensorStorage(200))
    buffer.extend(data)
    same(readers.from_torchrl(buffer[:], witness.action_space), truth(witness))


def test_split_trajectories_pads_and_the_padding_is_left_out():
    from torchrl.collectors.utils import split_trajectories

    witness = corridor()
    data = split_trajectories(collect(witness, 80), trajectory_key=("collector",
                                                                    "traj_ids"))
    assert data.ndim == 2 and data.numel() > 80
    same(readers.from_torchrl(data, witness.action_space), truth(witness))


def test_done_alone_does_not_tell():
    witness = corridor()
    data = collect(witness, 60).exclude(("next", "terminated"), ("next", "truncated"))
    with pytest.raises(ValueError, match="terminated=True or False"):
        readers.from_torchrl(data, witness.action_space)
    got = readers.from_torchrl(data, witness.action_space, terminated=False)
    assert not got.terminations.any()
    assert np.array_equal(got.starts, truth(witness).starts)
