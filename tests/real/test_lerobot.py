"""from_lerobot on a dataset that lerobot itself wrote and read.

lerobot 0.4.4 pins torch below 2.11. tests/real/run installs it without its pins, beside
the CPU build of torch that the project has, and a torchvision from PyPI, which is
built for CUDA: its compiled operators do not load there, and it asks for the names of
two before it can be imported. No operator of it is used here.
"""

import numpy as np
import pytest
import readers
import torch
from truth import corridor, cut_short, library, mixed, same, truth

try:
    operators = torch.library.Library("torchvision", "DEF")
    for name in "nms", "qnms":
        operators.define(f"{name}(Tensor dets, Tensor scores, float x) -> Tensor")
except RuntimeError:  # a torchvision whose operators are there
    pass
lerobot = library("lerobot")


def play(witness, steps):
    rng = np.random.default_rng(0)
    witness.reset(seed=0)
    for step in range(steps):
        action = rng.uniform(-4, 2, 1).astype(np.float32)
        if any(witness.step(action)[2:4]) or step == 40:
            witness.reset()
    witness.episodes[:] = [e for e in witness.episodes if e["actions"]]


def written(folder, witness, rewards=True, parts=False):
    """The dataset, by way of lerobot's own writer, files and reader."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    number = {"dtype": "float32", "shape": (1,), "names": None}
    features = {"action": number, "next.done": number | {"dtype": "bool"}}
    if parts:
        features |= {"observation.place": number, "observation.clock": number}
    else:
        features["observation.state"] = number | {"shape": (2,)}
    if rewards:
        features["next.reward"] = number
    made = LeRobotDataset.create("here/corridor", fps=10, features=features,
                                 root=folder / "made", use_videos=False)
    for episode in witness.episodes:
        count = len(episode["actions"])
        for t in range(count):
            obs = episode["observations"][t]
            frame = {"action": episode["actions"][t], "task": "walk",
                     "next.done": np.array([t == count - 1])}
            if parts:
                frame |= {"observation.place": obs[:1], "observation.clock": obs[1:]}
            else:
                frame["observation.state"] = obs
            if rewards:
                frame["next.reward"] = np.float32([episode["rewards"][t]])
            made.add_frame(frame)
        made.save_episode()
    made.finalize()
    return LeRobotDataset("here/corridor", root=folder / "made")


def test_written_and_read_by_lerobot(tmp_path):
    witness = corridor(False)
    play(witness, 100)
    dataset = written(tmp_path, witness)
    assert np.ndim(dataset[0]["action"]) == 0  # the trap
    expected = truth(witness)
    ended = [e["ends"][-1] for e in witness.episodes]
    got = readers.from_lerobot(dataset, witness.action_space, ["observation.state"],
                               terminated=ended)
    same(got, cut_short(expected), next_at_ends=False)
    assert mixed(got)
    assert sum(bool(dataset[i]["next.done"]) for i in range(len(dataset))) > sum(ended)
    got = readers.from_lerobot(dataset, witness.action_space, ["observation.state"],
                               terminated=False)
    assert not got.terminations.any()
    assert len(got) == len(expected) - expected.starts.sum()


def test_parts_of_one_number_and_no_rewards(tmp_path):
    witness = corridor(False)
    play(witness, 50)
    dataset = written(tmp_path, witness, rewards=False, parts=True)
    ended = [e["ends"][-1] for e in witness.episodes]
    keys = ["observation.place", "observation.clock"]
    got = readers.from_lerobot(dataset, witness.action_space, keys, ended)
    assert got.rewards is None
    expected = cut_short(truth(witness))
    assert np.array_equal(got.observations, expected.observations)
    with pytest.raises(ValueError, match="observation.z"):
        readers.from_lerobot(dataset, witness.action_space, ["observation.z"], ended)
