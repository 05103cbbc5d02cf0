"""Ranks that are threads of this process, with the part of mpi4py's interface that is used."""

import pickle
import threading

import fastbp


class Ended(BaseException):
    """A rank has called Abort."""


class _Group:
    def __init__(self, size):
        self.size, self.slots = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=60)
        self.calls = [[] for _ in range(size)]  # names of collective calls, by rank


class Communicator:
    """One rank's view of a group of threads; collective calls are checked to be the same ones."""

    def __init__(self, group, rank):
        self._group, self._rank = group, rank

    def Get_rank(self):
        return self._rank

    def Get_size(self):
        return self._group.size

    def _meet(self, name, value):
        """All values, in the order of ranks; an error if the calls are not the same."""
        group = self._group
        group.slots[self._rank] = (name, value)
        group.calls[self._rank].append(name)
        group.barrier.wait()
        slots = list(group.slots)
        group.barrier.wait()
        if len({name for name, _ in slots}) > 1:
            raise AssertionError(f"ranks made different calls: {[name for name, _ in slots]}")
        return [value for _, value in slots]

    def allgather(self, value):
        return [pickle.loads(v) for v in self._meet("allgather", pickle.dumps(value))]

    def Allreduce(self, in_place, vector):
        assert in_place is None
        vectors = self._meet(f"Allreduce of {vector.size} {vector.dtype}", vector.copy())
        vector[:] = vectors[0]
        for other in vectors[1:]:
            vector += other

    def Bcast(self, vector, root=0):
        vector[:] = self._meet(f"Bcast of {vector.size} {vector.dtype}", vector.copy())[root]

    def Abort(self, code):
        self._group.barrier.abort()
        raise Ended(code)


def communicators(size):
    """One communicator for each of so many threads."""
    group = _Group(size)
    return [Communicator(group, rank) for rank in range(size)]


def on_ranks(size, work, enter=True):
    """What ``work(rank)`` gives, or raises, in as many threads within `fastbp.distributed`."""
    found = [None] * size

    def run(comm):
        rank = comm.Get_rank()
        try:
            if enter:
                with fastbp.distributed(comm):
                    found[rank] = work(rank)
            else:
                found[rank] = work(comm)
        except BaseException as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(comm,)) for comm in communicators(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a rank waits for another"
    return found
