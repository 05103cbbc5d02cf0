"""What a tree of values takes at most: what `Encoder` writes within these, `Decoder` reads."""

from collections import defaultdict

_DEEPEST = 50
# Values that are there because something occurs again: few bytes could say "twice of twice of
# twice", and whoever looks at all of it, such as repr, would come to no end.
_MOST_REPEATED = 1 << 20
# Bytes of memory that a file may ask for without having any for them.
_MOST_MEMORY = 1 << 26
# Of an integer: Python makes no text of one with more than 4,300 digits, nor the other way round.
_MOST_BITS = 14_000
# Python's hash of an integer is its remainder by this; lookups of equal hashes take turns.
_MODULUS = 2**61 - 1
_MOST_OF_A_HASH = 100


class Limits:
    """Counts how deep a tree is, of how many values, and the memory for what it holds no bytes of.

    Parameters
    ----------
    error : callable
        Of a text: the exception that is raised where it is too much.

    Attributes
    ----------
    depth : int
        Of the value that is being written or read.
    """

    def __init__(self, error):
        self._error = error
        self.depth = self._reached = self._values = self._repeated = self._memory = 0
        self._of_hash = defaultdict(set)

    def enter(self, depth, n_values, where):
        """Count so many values below this one, nested so deeply."""
        self._reached = max(self._reached, self.depth + depth)
        if self.depth + depth > _DEEPEST:
            raise self._error(f"{where or 'obj'} is nested too deeply: it takes {_DEEPEST} levels")
        self._values += n_values

    def enter_again(self, depth, n_values, where):
        """Count something that occurs again, of this size."""
        self.enter(depth, n_values, where)
        self._repeated += n_values
        if self._repeated > _MOST_REPEATED:
            raise self._error(
                f"{where or 'obj'} has its parts so often that they are more than "
                f"{_MOST_REPEATED:,} values"
            )

    def begin(self):
        """Begin to count something that may occur again: what `end` takes."""
        before = self._reached, self._values
        self._reached = self.depth
        return before

    def end(self, before):
        """The depth and the number of values of it, as `enter` takes them."""
        reached, n_values = before
        size = self._reached - self.depth + 1, self._values - n_values + 1
        self._reached = max(self._reached, reached)
        return size

    def has(self, n_bytes):
        """Whether there is so much memory left."""
        return self._memory + n_bytes <= _MOST_MEMORY

    def take(self, n_bytes, where):
        """Count memory that the file has no bytes for."""
        if not self.has(n_bytes):
            raise self._error(
                f"{where or 'obj'} takes {n_bytes:,} bytes of memory that a file has none for: "
                f"together such may take {_MOST_MEMORY:,}"
            )
        self._memory += n_bytes

    def integer(self, value, where):
        """Look at an integer: JSON has no longer ones, and as keys many of one hash are slow."""
        if -_MODULUS < value < _MODULUS:
            return
        if value.bit_length() > _MOST_BITS:
            raise self._error(
                f"{where or 'obj'} is an integer of {value.bit_length():,} bits: it takes "
                f"{_MOST_BITS:,}"
            )
        same = self._of_hash[hash(value)]
        same.add(value)
        if len(same) > _MOST_OF_A_HASH:
            raise self._error(
                f"{where or 'obj'} has more than {_MOST_OF_A_HASH} integers of one remainder "
                "by 2**61 - 1"
            )
