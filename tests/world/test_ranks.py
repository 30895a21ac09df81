"""The recipe that learns one agent on several processes: book/ranks.py."""
import os
import subprocess
import sys
from pathlib import Path

import torch
from helpers import record_batches, same, weights

import iq

ROOT = Path(iq.__file__).parent
WATCHED = """
import os, runpy, sys
import torch, iq
sample, drawn = iq.Replay.sample, []

def noted(replay, expert, size, generator):
    batch, is_expert = sample(replay, expert, size, generator)
    drawn.append(batch.obs[:, 0])
    return batch, is_expert

iq.Replay.sample = noted
folder, rank = sys.argv[2], os.environ["RANK"]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
torch.save(torch.stack(drawn), f"{folder}/drawn{rank}.pt")
sys.exit(10 * torch.distributed.is_initialized())
"""


def test_ranks_of_torchrun_draw_their_own_rows_and_keep_one_agent(tmp_path):
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc-per-node=2", script, ROOT / "book/ranks.py", tmp_path, "30"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = (iq.load(tmp_path / f"rank{i}.pt") for i in range(2))
    assert same(weights(first), weights(second))
    drawn = [torch.load(tmp_path / f"drawn{i}.pt") for i in range(2)]
    assert drawn[0].shape == drawn[1].shape and len(drawn[0]) == 30
    assert (drawn[0] != drawn[1]).float().mean() > 0.9

    expert = iq.scripted_expert("CartPole-v1")
    demos = iq.record("CartPole-v1", expert, episodes=1, seed=0)
    alone = iq.new_agent(demos, first.config)
    batches = record_batches(alone)
    iq.learn(demos, agent=alone)
    assert torch.equal(torch.stack([x.obs[:, 0] for x, _ in batches]), drawn[0])
    assert not same(weights(alone), weights(first))
