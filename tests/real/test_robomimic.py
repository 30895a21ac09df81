"""from_robomimic on files in its layout, which robomimic's own reader reads as well.

The files are made here, as dataset_states_to_obs.py writes them: that script itself
needs a simulator and one of robomimic's recordings.
"""

import json

import numpy as np
import pytest
import readers
from truth import corridor, cut_short, library, mixed, same, truth

h5py = library("h5py")
robomimic = library("robomimic")


def play(witness, episodes):
    rng = np.random.default_rng(0)
    witness.reset(seed=0)
    while len(witness.episodes) <= episodes:
        action = rng.uniform(-4, 2, 1).astype(np.float32)
        if any(witness.step(action)[2:4]) or len(witness.episodes) == 5:  # broken off
            witness.reset()
    return truth(witness).take(episodes)


def write(path, demos, next_obs=True, done_mode=2):
    """demos in robomimic's layout; done_mode as its dataset_states_to_obs.py has it."""
    names = []
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        parts = np.split(np.arange(len(demos)), np.flatnonzero(demos.starts)[1:])
        for i, rows in enumerate(parts):
            group = data.create_group(f"demo_{i}")
            names.append(f"demo_{i}")
            dones = demos.terminations[rows].copy()
            dones[-1] |= done_mode > 0
            group["actions"] = demos.actions[rows]
            group["rewards"], group["dones"] = demos.rewards[rows], np.int64(dones)
            for key, values in (("obs", demos.observations),
                                ("next_obs", demos.next_observations))[:1 + next_obs]:
                group[f"{key}/place"] = values[rows, :1]
                group[f"{key}/clock"] = values[rows, 1:]
            group.attrs["num_samples"] = len(rows)
        data.attrs["total"] = len(demos)
        data.attrs["env_args"] = json.dumps({"env_name": "Corridor", "type": 2,
                                             "env_kwargs": {}})
        few = np.array(names[::2], dtype="S")
        file.create_dataset("mask/train", data=few)
    return [i for i in range(0, len(names), 2)]


@pytest.mark.parametrize("next_obs", [True, False])
def test_the_same_rows_as_robomimics_own_reader(tmp_path, next_obs):
    from robomimic.utils import obs_utils
    from robomimic.utils.dataset import SequenceDataset

    witness = corridor(False)
    expected = play(witness, 14)  # more than ten: demo_10 is not the third
    assert mixed(expected)
    write(tmp_path / "demo.hdf5", expected, next_obs)
    ended = expected.terminations[np.append(expected.starts[1:], True)]
    with h5py.File(tmp_path / "demo.hdf5") as file:
        got = readers.from_robomimic(file, witness.action_space, ["place", "clock"],
                                     terminated=ended)
    if next_obs:
        same(got, expected)
    else:
        same(got, cut_short(expected), next_at_ends=False)
    obs_utils.initialize_obs_utils_with_obs_specs(
        {"obs": {"low_dim": ["place", "clock"]}})
    theirs = SequenceDataset(
        str(tmp_path / "demo.hdf5"), obs_keys=["place", "clock"],
        dataset_keys=["actions", "rewards", "dones"], load_next_obs=next_obs,
        hdf5_cache_mode="low_dim")
    assert len(theirs) == len(expected)
    rows = [theirs[i] for i in range(len(theirs))]
    both = [np.concatenate([r["obs"]["place"][0], r["obs"]["clock"][0]]) for r in rows]
    order = np.lexsort(np.array(both).T)
    mine = np.lexsort(expected.observations.T)
    assert np.array_equal(np.array(both)[order], expected.observations[mine])
    actions = np.array([r["actions"][0] for r in rows])
    assert np.array_equal(actions[order], expected.actions[mine])


def test_order_is_by_number_and_a_mask_chooses(tmp_path):
    witness = corridor(False)
    expected = play(witness, 14)
    chosen = write(tmp_path / "demo.hdf5", expected)
    with h5py.File(tmp_path / "demo.hdf5") as file:
        assert list(file["data"])[2] == "demo_10"  # the trap
        got = readers.from_robomimic(file, witness.action_space, ["place", "clock"],
                                     terminated=False, mask="train")
    firsts = expected.observations[expected.starts][chosen]
    assert np.array_equal(got.observations[got.starts], firsts)
    assert not got.terminations.any()


def test_dones_say_one_thing_or_another(tmp_path):
    witness = corridor(False)
    expected = play(witness, 14)
    told = []
    for mode in 0, 1:
        write(tmp_path / "demo.hdf5", expected, done_mode=mode)
        with h5py.File(tmp_path / "demo.hdf5") as file:
            told.append([file[f"data/demo_{i}/dones"][-1] for i in range(14)])
            with pytest.raises(TypeError, match="terminated"):
                readers.from_robomimic(file, witness.action_space, ["place"])
    assert sum(told[1]) == 14 > sum(told[0]) > 0


def test_keys_are_asked_for(tmp_path):
    witness = corridor(False)
    write(tmp_path / "demo.hdf5", play(witness, 3))
    with h5py.File(tmp_path / "demo.hdf5") as file:
        with pytest.raises(ValueError, match=r"\['clock', 'place'\]"):
            readers.from_robomimic(file, witness.action_space, ["speed"], False)
