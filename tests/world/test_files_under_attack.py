"""Whatever a file holds, it becomes a valid object or a ValueError, nothing else.

Each test spoils a small valid file in many ways. A crash would end the test run; an
alarm cuts off what hangs; code that a file smuggles in would leave a mark.
"""
import contextlib
import io
import os
import pickle
import resource
import signal
import subprocess
import tempfile
import zipfile

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from helpers import COLUMNS, ENVS, KINDS, columns, make_config, make_demos
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import iq

pytestmark = pytest.mark.filterwarnings("ignore")  # torch and numpy warn of bad bytes
many = settings(max_examples=60, deadline=None,
                suppress_health_check=list(HealthCheck))
some = settings(many, max_examples=60)


class HangError(BaseException):
    """Not an Exception, so that no handler for bad files takes it for one."""


@contextlib.contextmanager
def within(seconds):
    def cut_off(*_):
        raise HangError(f"not done in {seconds} s")

    usual = signal.signal(signal.SIGALRM, cut_off)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, usual)


@pytest.fixture(scope="module", autouse=True)
def memory():
    """Three GB more than now: no file is to take all of the machine's memory."""
    usual = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 3 * 2**30, usual[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, usual)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("attack")


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def archive(parts):
    """A zip with right checksums, so that what is inside is read."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, content in parts.items():
            out.writestr(name, content)
    return file.getvalue()


def held(save):
    """The bytes of the file that something saves."""
    with tempfile.TemporaryDirectory() as folder:
        save(f"{folder}/file")
        with open(f"{folder}/file", "rb") as file:
            return file.read()


DEMOS = {kind: held(make_demos(kind, episodes=2).save) for kind in KINDS[:2]}
AGENTS = {kind: held(iq.learn(make_demos(kind), ENVS[kind], make_config(
    kind, steps=3, hidden=4)).save) for kind in KINDS}

# ---------------------------------------------------------------- ways to spoil bytes

kinds, where = st.sampled_from([*DEMOS]), st.floats(0, 1)
spoiling = st.lists(st.tuples(st.sampled_from(["flip", "flip", "cut", "insert", "end"]),
                              where, st.integers(1, 255)), min_size=1, max_size=6)


def spoil(content, steps):
    x = bytearray(content)
    for what, at, how in steps:
        i = int(at * (len(x) - 1)) if x else 0
        if what == "flip" and x:
            x[i] ^= how
        elif what == "cut":
            del x[i:i + how // 6]
        elif what == "insert":
            x[i:i] = x[:how // 6] + bytes([how])
        elif what == "end":
            del x[i:]
    return bytes(x)


# ------------------------------------------------------------------- what is promised

def check_demos(path):
    """Load within seconds; what is returned is checked by other means than iq.py's."""
    try:
        with within(10):
            demos = iq.Demos.load(path)
    except ValueError as error:
        assert "\n" not in str(error)
        return None
    n, space = len(demos), demos.action_space
    assert n > 0 and demos.observations.shape == demos.next_observations.shape
    assert demos.observations.ndim > 1
    for name, x in demos.columns.items():
        assert len(x) == n and x.dtype.kind in "fiub" and np.isfinite(x).all()
        if not name.endswith(("observations", "actions")):
            assert x.shape == (n,)
    assert demos.actions.shape == (n, *space.shape)
    assert demos.terminations.dtype == demos.truncations.dtype == bool
    slack = 1e-5 * (space.high - space.low) if isinstance(space, Box) else 0
    assert (demos.actions >= getattr(space, "low", 0) - slack).all()
    most = getattr(space, "high", getattr(space, "n", 1) - 1)
    assert (demos.actions <= most + slack).all()
    assert demos.returns().shape == (demos.starts.sum(),)
    return demos


def check_agent(path):
    try:
        with within(10):
            agent = iq.load(path)
    except ValueError as error:
        assert str(path) in str(error)
        return None
    obs = np.zeros((3, *agent.example.shape))
    assert isinstance(agent.action_space, (Discrete, Box))
    with contextlib.suppress(RuntimeError):  # of weights that are not finite
        assert agent.act(obs).shape == (3, *agent.action_space.shape)
    return agent


both = pytest.mark.parametrize("files, check", [
    (DEMOS, check_demos), (AGENTS, check_agent)], ids=["demonstrations", "checkpoint"])


@both
def test_the_files_to_be_spoiled_are_valid_ones(files, check, folder):
    path = folder / "file"
    for content in files.values():
        for valid in content, archive(members(content)):
            path.write_bytes(valid)
            assert check(path) is not None


# ---------------------------------------------------------------------- spoiled bytes

@both
@many
@given(kind=kinds, steps=spoiling)
def test_a_file_with_spoiled_bytes(folder, files, check, kind, steps):
    path = folder / "file"
    path.write_bytes(spoil(files[kind], steps))
    check(path)


@both
@many
@given(kind=kinds, member=where, steps=spoiling, header=st.booleans())
def test_a_file_that_is_spoiled_beneath_right_checksums(
        folder, files, check, kind, member, steps, header):
    parts = members(files[kind])
    names = [x for x in parts if x.endswith("data.pkl")] or sorted(parts)
    name = names[int(member * (len(names) - 1))]
    size = 128 if header else len(parts[name])
    parts[name] = spoil(parts[name][:size], steps) + parts[name][size:]
    path = folder / "file"
    path.write_bytes(archive(parts))
    check(path)


numbers = st.one_of(st.integers(-3, 9), st.integers(-2**70, 2**70), st.booleans())
HEADERS = st.one_of(
    st.builds("{{'descr': {!r}, 'fortran_order': {}, 'shape': {}}}".format,
              st.sampled_from(["<f4", ">f8", "|O", "|b1", "<i8", "|V0", "<U999999999",
                               "<f16", "<c8", "<M8[s]", "|S0", [("a", "<f4")], "nope"]),
              st.booleans(), st.lists(numbers, max_size=4).map(tuple)),
    st.sampled_from(["(" * 5000, "{" * 300, "[" * 90 + "]" * 90, "1" * 9000, "{}",
                     "__import__('os').abort()", "-" * 9000 + "1", "{'descr': {}}",
                     "9**9**9", "'a'" * 2000, "{'shape': 1e999}"]),
    st.text(max_size=80))


@some
@given(kind=kinds, name=st.sampled_from([*COLUMNS]), header=HEADERS,
       version=st.sampled_from([b"\1\0", b"\2\0", b"\3\0", b"\4\0"]), lie=st.booleans())
@example("discrete", "rewards", "{'descr': '<f8', 'fortran_order': False, "
         "'shape': (1000000000000,)}", b"\1\0", False)
@example("discrete", "rewards", "{'descr': '|V0', 'fortran_order': False, "
         "'shape': (1000000000000,)}", b"\1\0", False)
@example("discrete", "rewards", "{'descr': '|S0', 'fortran_order': False, "
         "'shape': (1000000000000,)}", b"\1\0", False)
def test_demonstrations_with_hostile_array_headers(
    folder, kind, name, header, version, lie):
    text = header.encode("utf8", "replace") + b"\n"
    size = len(text) * 7 if lie else len(text)
    length = size.to_bytes(2 if version == b"\1\0" else 4, "little", signed=False)
    parts = members(DEMOS[kind])
    old = parts[f"{name}.npy"]
    parts[f"{name}.npy"] = b"\x93NUMPY" + version + length + text + old[128:]
    path = folder / "demos.npz"
    path.write_bytes(archive(parts))
    check_demos(path)


anything = st.one_of(
    st.integers(-3, 3), st.integers(-2**63, 2**63 - 1), st.floats(), st.booleans(),
    st.text(max_size=9), st.binary(max_size=9), st.lists(st.integers(0, 2), max_size=9),
    st.lists(st.floats(width=32), max_size=9)).map(np.array)


@some
@given(kind=kinds, changes=st.dictionaries(
    st.sampled_from([*COLUMNS, "n_actions", "action_low", "action_high"]),
    anything, min_size=1, max_size=3))
def test_demonstrations_with_any_other_arrays_in_it(folder, kind, changes):
    path = folder / "demos.npz"
    with np.load(io.BytesIO(DEMOS[kind])) as file:
        np.savez(path, **dict(file) | changes)
    check_demos(path)


@settings(max_examples=40, deadline=None)
@given(content=st.one_of(st.binary(max_size=300),
                         st.binary(max_size=100).map(lambda x: b"PK\3\4" + x),
                         st.binary(max_size=100).map(lambda x: b"\x93NUMPY\1\0" + x),
                         st.binary(max_size=100).map(lambda x: b"\x80\2" + x)))
def test_noise_is_neither_demonstrations_nor_a_checkpoint(folder, content):
    path = folder / "noise"
    path.write_bytes(content)
    assert check_demos(path) is None and check_agent(path) is None


# ----------------------------------------------------------- checkpoints that lie

def put(value, *keys):
    def change(state):
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value
    return change


def each_weight(change):
    return lambda state: state["weights"].update(
        {name: change(x) for name, x in state["weights"].items()})


WIDE = torch.zeros(1).expand(2**28)  # a gigabyte, and a few bytes in a file
LIES = {
    **{f"config.{k} is {x!r}": put(x, "config", k) for k, x in (
        ("gamma", 2.0), ("hidden", 5), ("hidden", 2**14), ("hidden", 2**16),
        ("steps", "all"), ("divergence", "none"), ("temperature", float("nan")),
        ("unheard", 1), ("seed", -1), ("seed", torch.zeros(2)))},
    **{f"no {k}": lambda state, k=k: state.pop(k)
       for k in ("config", "weights", "dtype", "space", "user_networks")},
    **{f"{k} is {x!r}": put(x, k) for k in ("config", "weights", "dtype", "space")
       for x in (None, 3, "words", [], {}, torch.zeros(2, 2))
       if k != "dtype" or x is not None},
    **{f"own networks {x!r}": put(x, "user_networks")
       for x in (None, 3, ["critic"], ["more"], torch.zeros(2, 2))},
    "weights of another shape": each_weight(lambda x: x[..., None]),
    **{f"weights of type {x}": each_weight(lambda w, x=x: w.to(x))
       for x in (torch.float64, torch.float16, torch.int64, torch.complex64)},
    "weights of words": each_weight(str),
    "weights of none": each_weight(lambda x: None),
    "weights without end": each_weight(lambda x: WIDE),
    "a weight too many": put(torch.zeros(1), "weights", "more"),
    "a scale of another shape": put(torch.ones(3), "weights", "obs_scale"),
    "a scale without end": put(WIDE, "weights", "obs_scale"),
    "a scale of no axes": put(torch.ones(()), "weights", "obs_scale"),
    "a scale of nan": put(torch.full((2,), torch.nan), "weights", "obs_scale"),
    "a dtype of objects": put("object", "dtype"), "no dtype": put("nope", "dtype"),
    "infinite bounds": put({"action_low": torch.tensor([-torch.inf]),
                            "action_high": torch.tensor([torch.inf])}, "space"),
    "bounds the wrong way": put({"action_low": torch.ones(1),
                                 "action_high": torch.zeros(1)}, "space"),
    "bounds without end": put({"action_low": (torch.zeros(1) - 1).expand(2**28),
                               "action_high": WIDE}, "space"),
    "more actions than there is memory": put({"n_actions": torch.tensor(2**40)},
                                             "space"),
    "a number of actions without end": put({"n_actions": WIDE}, "space"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_checkpoint_that_lies_about_itself_is_refused_within_its_size(folder, name):
    path = folder / "agent.pt"
    for kind in KINDS:
        state = torch.load(io.BytesIO(AGENTS[kind]), weights_only=True)
        LIES[name](state)
        torch.save(state, path)
        del state
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert check_agent(path) is None
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 300_000, f"{grown} kB of memory for a file of a few"


# ------------------------------------------------------------------------ smuggled code

class Smuggled:
    """On unpickling, calls a function that leaves a mark."""

    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


CALLS = {
    "system": lambda mark: Smuggled(os.system, f"touch {mark}"),
    "eval": lambda mark: Smuggled(eval, f"open({mark!r}, 'w')"),
    "open": lambda mark: Smuggled(open, mark, "w"),
    "Popen": lambda mark: Smuggled(subprocess.Popen, ["touch", mark]),
    "mkdir": lambda mark: Smuggled(os.mkdir, mark)}


def test_the_smuggled_code_would_leave_its_mark(tmp_path):
    pickle.loads(pickle.dumps(CALLS["mkdir"](str(tmp_path / "mark"))))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("call", CALLS)
def test_no_code_is_run_from_demonstrations(tmp_path, call):
    path, array = tmp_path / "demos.npz", np.empty(1, object)
    array[0] = CALLS[call](str(tmp_path / "mark"))
    for key in (*COLUMNS, "n_actions", "note"):
        np.savez(path, **columns(make_demos()) | {key: array})
        assert (check_demos(path) is None) == (key != "note")  # which is never read
    path.write_bytes(pickle.dumps(array[0]))
    assert check_demos(path) is None
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=True)
    assert check_demos(path) is None and os.listdir(tmp_path) == ["demos.npz"]


@pytest.mark.parametrize("call", CALLS)
def test_no_code_is_run_from_a_checkpoint(tmp_path, call):
    path, thing = tmp_path / "agent.pt", CALLS[call](str(tmp_path / "mark"))
    state = torch.load(io.BytesIO(AGENTS["discrete"]), weights_only=True)
    for content in [thing, *(state | {key: thing} for key in state)]:
        for new in True, False:
            torch.save(content, path, _use_new_zipfile_serialization=new)
            assert check_agent(path) is None
    for protocol in range(5):
        path.write_bytes(pickle.dumps(thing, protocol))
        assert check_agent(path) is None
    assert os.listdir(tmp_path) == ["agent.pt"]
