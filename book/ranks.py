"""Several processes, one agent: torchrun --nproc-per-node 2 book/ranks.py [folder [steps]]

Every rank draws its own rows of the scripted expert's demonstrations; each update steps
by the mean of the ranks' gradients, so that all of them keep the same weights.
"""
import sys

import torch
import torch.distributed as dist

import iq


def average_gradients(agent):
    """Let the agent's backward end with the mean of all ranks' gradients."""
    own = agent.backward

    def backward(loss, value):
        own(loss, value)
        for weight in agent.parameters():
            if weight.grad is not None:
                dist.all_reduce(weight.grad)
                weight.grad /= dist.get_world_size()

    agent.backward = backward


def main(folder=".", steps=2_000):
    torch.set_num_threads(1)
    dist.init_process_group("gloo")  # "nccl" where each rank has a GPU of its own
    rank = dist.get_rank()
    expert = iq.scripted_expert("CartPole-v1")
    demos = iq.record("CartPole-v1", expert, episodes=1, seed=0)
    agent = iq.new_agent(demos, iq.Config(steps=int(steps)))  # one seed, one agent
    agent.generator.manual_seed(rank)  # but draws of its own for each rank
    average_gradients(agent)
    iq.learn(demos, agent=agent)
    agent.save(f"{folder}/rank{rank}.pt")
    if rank == 0:
        print(iq.evaluate(agent, "CartPole-v1", episodes=5, seed=1))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
