"""from_rlds on a dataset that tensorflow_datasets itself wrote and read."""

import numpy as np
import pytest
import readers
from truth import corridor, library, mixed, same, truth

tfds = library("tensorflow_datasets")


def play(witness, steps):
    rng = np.random.default_rng(0)
    space = witness.action_space
    witness.reset(seed=0)
    for step in range(steps):
        action = rng.integers(space.n) if hasattr(space, "n") else rng.uniform(
            space.low, space.high).astype(np.float32)
        if any(witness.step(action)[2:4]) or step == 40:
            witness.reset()
    witness.episodes[:] = [e for e in witness.episodes if e["actions"]]


def steps_of(episode, parts):
    """An episode's steps, as RLDS tells them: the last one's action is void."""
    last = len(episode["actions"])
    for t in range(last + 1):
        obs = episode["observations"][t]
        void = np.zeros_like(episode["actions"][0])
        yield {
            "observation": {"place": obs[:1], "clock": obs[1:]} if parts else obs,
            "action": episode["actions"][t] if t < last else void,
            "reward": np.float32(episode["rewards"][t] if t < last else 0),
            "discount": np.float32(1), "is_first": t == 0, "is_last": t == last,
            "is_terminal": t == last and episode["ends"][-1]}


def written(folder, witness, parts=False):
    """The dataset, by way of TFDS's own writer, files and reader."""
    import tensorflow as tf
    from tensorflow_datasets.rlds import rlds_base

    vector = tfds.features.Tensor(shape=(2,), dtype=tf.float32)
    one = tfds.features.Tensor(shape=(1,), dtype=tf.float32)
    discrete = hasattr(witness.action_space, "n")

    with tfds.core.registered.skip_registration():
        class Corridor(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return rlds_base.build_info(rlds_base.DatasetConfig(
                    name="default",
                    observation_info={"place": one, "clock": one} if parts else vector,
                    action_info=tfds.features.Scalar(tf.int64) if discrete else one,
                    reward_info=tfds.features.Scalar(tf.float32),
                    discount_info=tfds.features.Scalar(tf.float32)), self)

            def _split_generators(self, manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                for i, episode in enumerate(witness.episodes):
                    yield i, {"steps": list(steps_of(episode, parts))}

    builder = Corridor(data_dir=str(folder))
    builder.download_and_prepare()
    return tfds.as_numpy(builder.as_dataset(split="train"))


def in_time(episodes, witness):
    """TFDS shuffles episodes as it writes them: the truth in its order."""
    firsts = {e["observations"][0].tobytes(): e for e in witness.episodes}
    order = []
    for episode in episodes:
        first = next(iter(episode["steps"]))["observation"]
        order.append(firsts[np.float32(first).tobytes()])
    assert len(order) == len(witness.episodes)
    witness.episodes[:] = order


@pytest.mark.parametrize("discrete", [True, False])
def test_written_and_read_by_tfds(tmp_path, discrete):
    witness = corridor(discrete)
    play(witness, 100)
    episodes = written(tmp_path, witness)
    in_time(episodes, witness)
    got = readers.from_rlds(episodes, witness.action_space)
    same(got, truth(witness))
    assert mixed(got)


def test_observations_in_parts(tmp_path):
    witness = corridor()
    play(witness, 60)
    episodes = written(tmp_path, witness, parts=True)
    with pytest.raises(ValueError, match=r"\['clock', 'place'\]"):
        readers.from_rlds(episodes, witness.action_space)
    got = readers.from_rlds(episodes, witness.action_space, keys=["place", "clock"])
    expected = truth(witness)
    seen = [np.sort(x.observations, 0) for x in (got, expected)]
    assert np.array_equal(*seen)
    assert got.terminations.sum() == expected.terminations.sum()


def test_is_last_is_not_is_terminal_and_the_last_action_is_void(tmp_path):
    witness = corridor(False)
    play(witness, 60)
    lasts = ends = rows = 0
    for episode in written(tmp_path, witness):
        steps = list(episode["steps"])
        rows += len(steps)
        lasts += sum(bool(s["is_last"]) for s in steps)
        ends += sum(bool(s["is_terminal"]) for s in steps)
        assert steps[-1]["action"] == 0
    got = readers.from_rlds(written(tmp_path, witness), witness.action_space)
    assert lasts == got.starts.sum() > ends == got.terminations.sum()
    assert len(got) == rows - lasts
