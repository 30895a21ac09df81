"""Ranks: processes joined by torch.distributed that learn one agent together."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from test_agents import batch
from tools import KINDS, config, diary, weights
from torch import multiprocessing

import iq

ROOT = Path(iq.__file__).parent


def apprentice(kind):
    """An agent whose draws are its likeliest actions: any split of rows draws alike."""
    agent = iq.new_agent(diary(kind), config())
    if kind == "continuous":
        agent.draw = lambda obs: iq.squash(
            *agent.actor(obs).chunk(2, 1), torch.zeros(len(obs), 1))
    return agent


def rows(agent, kind, rank=None):
    """Eight rows of a diary, of replay and of initial states; a rank has half."""
    part = slice(0, 8) if rank is None else slice(4 * rank, 4 * rank + 4)
    expert, policy = (batch(agent, diary(kind, seed=seed), part) for seed in (0, 1))
    return expert, policy, batch(agent, diary(kind, seed=2), part).obs


def norms(told):
    """Of the gradients: Adam's step hides a factor in them."""
    return torch.stack([info["critic_gradient"] for info in told])


def half(rank, kind, folder):
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    agent = apprentice(kind)
    told = [agent.update(*rows(agent, kind, rank)) for _ in range(3)]
    torch.save([weights(agent), agent.generator.initial_seed(), norms(told)],
               f"{folder}/{rank}.pt")
    dist.destroy_process_group()
    os._exit(0)  # a gloo thread that outlives the group can abort Python as it exits


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_step_as_one_process_does_on_the_joined_batch(kind, tmp_path):
    multiprocessing.spawn(half, (kind, str(tmp_path)), nprocs=2)
    (first, one, its), (second, two, _) = (
        torch.load(tmp_path / f"{i}.pt") for i in (0, 1))
    alone = apprentice(kind)
    told = [alone.update(*rows(alone, kind)) for _ in range(3)]
    torch.testing.assert_close(its, norms(told), rtol=1e-4, atol=1e-5)
    for name, weight in weights(alone).items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], weight, rtol=1e-4, atol=1e-5)
    assert one == 0 != two  # draws of their own


def torchrun(folder, *words, script=ROOT / "iq.py"):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc-per-node=2", script, *words],
        cwd=folder, capture_output=True, text=True)


def test_no_rank_leaves_with_the_group_still_there(tmp_path):
    """Of 70 pairs of bare gloo processes 11 aborted in leaving so, none of 70 else."""
    script = tmp_path / "leave.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import iq, torch.distributed as dist\n"
        "sys.exit(iq.main(sys.argv[1:]) or 10 * dist.is_initialized())\n")
    done = torchrun(tmp_path, "learn", "CartPole-v1", "--steps", "3", script=script)
    assert done.returncode == 0, done.stderr


def test_torchrun_reports_once_and_writes_once(tmp_path):
    done = torchrun(tmp_path, "learn", "CartPole-v1", "--online", "--steps", "30",
                    "--out", "agent.pt", "--metrics", "m.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["env_steps"] == 30
    assert {x.name for x in tmp_path.iterdir()} == {"agent.pt", "m.csv"}
    assert iq.load(tmp_path / "agent.pt").updates == 30
    again = torchrun(tmp_path, "learn", "CartPole-v1", "--resume", "agent.pt")
    assert again.returncode  # both complain, perhaps at once
    assert "--resume is agent.pt; allowed: one process" in again.stderr
