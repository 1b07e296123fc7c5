import torch

from codial.utils.batch_generator import BatchGenerator
from codial.utils.distributed import ProcessGroup


def test_random_numbers_do_not_depend_on_the_number_of_processes(seed):
    def sample(processes):
        rng = BatchGenerator(torch.Generator().manual_seed(seed), 8 // processes.size, processes)
        return rng.normal(3, 2), rng.integers(1, 100, 5), rng.uniform(4), rng.permutation(10)

    single = sample(ProcessGroup())
    shards = [sample(ProcessGroup(rank, 2)) for rank in range(2)]
    for part in (0, 1, 2):
        assert torch.equal(torch.cat([shard[part] for shard in shards]), single[part])
    assert 0 <= single[2].min() < single[2].max() < 1
    assert all(torch.equal(shard[3], single[3]) for shard in shards)
