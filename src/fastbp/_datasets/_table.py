"""The blocks of a dataset, and how they are read: one at a time, by whoever asks.

A block is what can be read without the rows before it: a row group of a Parquet file, a record
batch of an Arrow IPC file, and else a whole file. Parquet is decoded page by page, so that a block
may be larger than memory; of Arrow IPC one record batch at a time is in memory.
"""

import hashlib
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ._columns import plain

# Bytes that are asked of a Parquet file at a time, for each column.
_BUFFER = 64 << 10
# A page and a dictionary of Parquet have at most so many bytes, as pyarrow and others write them.
_PAGE = 1 << 20
# Bytes of rows that are decoded together, about.
_DECODED = 1 << 20
# Bytes in memory for each byte of a Parquet footer, which stays there for as long as the dataset is
# read: 4.1 were measured.
_OF_FOOTER = 5
# Rows of which a digest is made together.
_DIGESTED = 1 << 12
# What the readers of other formats hold, apart from rows: blocks of text that are parsed ahead.
_TEXT = 32 << 20


class Block(NamedTuple):
    """Rows that can be read without those before them."""

    fragment: Any
    part: int | None  # of the file: a row group or record batch; None: all of it
    path: str
    size: int | None = None  # bytes of the file, where it is read in parts


class Place(NamedTuple):
    """Where the rows of a record batch are in the dataset."""

    block: int
    row: int  # of the block, the first of the batch; or of `kept`
    path: str  # "": the rows are in memory
    part: int | None
    kept: Any = None  # the rows of the block that were kept, where others were left out

    def of(self, rows):
        """The place of some rows of the batch, by their numbers in it."""
        return self._replace(row=0, kept=self.row + rows)

    def named(self, row):
        """Words for a row of the batch."""
        number = self.row + row
        number = number if self.kept is None else self.kept[number]
        if not self.path:
            return f"row {number} of block {self.block} of the rows in memory"
        part = "" if self.part is None else f"block {self.part} of "
        return f"row {number} of {part}{self.path}"


class Table:
    """A dataset as a list of blocks.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset

    Attributes
    ----------
    schema : pyarrow.Schema
    blocks : list of Block
    counts : list of (int or None)
        Rows of each block; None as long as it has not been read.
    """

    def __init__(self, dataset):
        self.schema = dataset.schema
        names = self.schema.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"The dataset has several columns of the names {twice}: it takes one.")
        self._fragments = _fragments(dataset)
        self.blocks, self.counts = [], []
        for fragment in self._fragments:
            with errors_named(_path(fragment)):
                for block, count in _blocks(fragment):
                    self.blocks.append(block)
                    self.counts.append(count)
        self._largest_batch = 0
        parquet = filter(_is_parquet, self._fragments)
        self._footer_bytes = sum(fragment.metadata.serialized_size for fragment in parquet)
        self._bytes_of_texts = {}  # in a row, for sets of columns that were asked for

    @property
    def n_rows(self):
        """Rows of all blocks; None as long as they are not counted."""
        return None if None in self.counts else sum(self.counts)

    def batches(self, columns, batch_rows, blocks=None):
        """Read these blocks (None: all, in the dataset's order): pairs (Place, RecordBatch).

        A batch has at most `batch_rows` rows, and fewer where texts are long. The number of rows of
        a block is learnt, or compared with what it was.

        Raises
        ------
        ValueError, OSError
            What pyarrow says, with the name of the file; or if a block has other rows than before.
        """
        batch_rows = min(batch_rows, self._most_rows(columns))
        for number in range(len(self.blocks)) if blocks is None else blocks:
            block, row = self.blocks[number], 0
            with errors_named(block.path):
                reader = _reader(block, self.schema, columns, batch_rows, self._note_bytes)
            while True:
                with errors_named(block.path):
                    batch = next(reader, None)
                if batch is None:
                    break
                if batch.num_rows:
                    if block.part is None:
                        self._note_bytes(batch.nbytes)
                    yield Place(number, row, block.path, block.part), batch
                    row += batch.num_rows
            self._count(number, row)

    def _most_rows(self, columns):
        """So many rows of these columns are decoded together, by what Parquet tells of texts."""
        return max(_DECODED // max(self._text_bytes(columns), 1), 1)

    def _text_bytes(self, columns):
        """Bytes of the texts in a row, on the average of the row group where they are longest."""
        kinds = {name: self.schema.field(name).type for name in columns}
        texts = frozenset(name for name, kind in kinds.items() if _width(kind) is None)
        if texts not in self._bytes_of_texts:
            blocks = (block for block in self.blocks if texts and _is_parquet(block.fragment))
            n_bytes = max((_bytes_of_row(block, texts) for block in blocks), default=0)
            self._bytes_of_texts[texts] = n_bytes
        return self._bytes_of_texts[texts]

    def _note_bytes(self, n_bytes):
        """Know of a record batch that pyarrow holds as a whole."""
        self._largest_batch = max(self._largest_batch, n_bytes)

    def _count(self, number, n_rows):
        known = self.counts[number]
        if known is None:
            self.counts[number] = n_rows
        elif known != n_rows:
            block = self.blocks[number]
            raise ValueError(
                f"{block.path} was changed while it was read: "
                f"{'it' if block.part is None else f'its block {block.part}'} had {known} rows and "
                f"now has {n_rows}."
            )

    def reading_bytes(self, columns, batch_rows):
        """The bytes that pyarrow needs to read any block, as far as they can be told.

        For Parquet a page or a dictionary twice over and some compressed bytes of each column, one
        batch of rows and its numbers as a matrix, and the footers of all files; for other formats
        twice the largest record batch that was read so far, and what the parser of a text holds.
        """
        needed = 0
        width = _row_bytes(self.schema, columns) + self._text_bytes(columns)
        batch_rows = min(batch_rows, self._most_rows(columns))
        for block in self.blocks:
            if _is_parquet(block.fragment):
                n_rows = min(block.fragment.metadata.row_group(block.part).num_rows, batch_rows)
                needed = max(needed, _parquet_bytes(block, columns) + 2 * n_rows * width)
            else:
                text = 0 if block.part is not None or not block.path else _TEXT
                needed = max(needed, 2 * self._largest_batch + text)
        return needed + _OF_FOOTER * self._footer_bytes

    def fingerprint(self):
        """What tells this dataset from another, or from itself after a change.

        Returns
        -------
        dict
            The schema as a text, the numbers of rows, and for each file its path, its bytes and
            the time of its last change in nanoseconds; of rows in memory a digest.
        """
        files, in_memory = [], []
        for fragment in self._fragments:
            path = getattr(fragment, "path", None)
            if path is not None:
                (info,) = fragment.filesystem.get_file_info([path])
                files.append([path, info.size, info.mtime_ns])
            else:
                in_memory.append(_digest(fragment))
        found = {"schema": str(self.schema), "n_rows": list(self.counts)}
        return {**found, "files": files, "in memory": in_memory}


def _digest(fragment):
    """That of all rows of a fragment, a few at a time."""
    found = hashlib.sha256(usedforsecurity=False)
    for batch in fragment.to_batches(use_threads=False):
        for row in range(0, batch.num_rows, _DIGESTED):
            # Of a dictionary the numbers alone would be digested.
            arrays = [plain(array) for array in batch.slice(row, _DIGESTED).columns]
            some = pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
            found.update(some.serialize())
    return found.hexdigest()


def _fragments(dataset):
    try:
        return list(dataset.get_fragments())
    except ValueError as error:
        raise ValueError(
            f"The dataset cannot be read in blocks: {error} It takes a dataset as "
            "pyarrow.dataset.dataset() gives it; rows that were filtered can be written by "
            "pyarrow.dataset.write_dataset()."
        ) from error


def _path(fragment):
    return getattr(fragment, "path", None) or ""


@contextmanager
def errors_named(path):
    """Say of which file it is that pyarrow complains."""
    try:
        yield
    except (OSError, ValueError) as error:
        if not path or path in str(error):
            raise
        kinds = (FileNotFoundError, PermissionError, OSError, ValueError)
        kind = next(k for k in kinds if isinstance(error, k))
        raise kind(f"{path}: {error}") from error


# ---- by format ----


def _blocks(fragment):
    """Pairs of a block and its number of rows, if that is known."""
    path = _path(fragment)
    if _is_parquet(fragment):
        with fragment.open() as file:
            size = file.size()
        for group in fragment.row_groups:
            yield Block(fragment, group.id, path, size), group.num_rows
    elif _is_ipc(fragment):
        with fragment.open() as file:
            size, n_parts = file.size(), pa.ipc.open_file(file).num_record_batches
        for part in range(n_parts):
            yield Block(fragment, part, path, size), None
    else:
        yield Block(fragment, None, path), None


def _is_parquet(fragment):
    return isinstance(fragment, ds.ParquetFileFragment)


def _is_ipc(fragment):
    return isinstance(getattr(fragment, "format", None), ds.IpcFileFormat)


def _reader(block, schema, columns, batch_rows, note_bytes):
    """The record batches of a block, one after the other.

    `note_bytes` is called with the bytes of those that are in memory as a whole.
    """
    if block.part is None:
        scanner = block.fragment.scanner(
            schema=schema,
            columns=columns,
            batch_size=batch_rows,
            batch_readahead=0,
            fragment_readahead=0,
            use_threads=False,
        )
        return iter(scanner.to_batches())
    if _is_ipc(block.fragment):
        batches = _ipc_batches(block, columns, batch_rows, note_bytes)
    else:
        batches = _parquet_batches(block, columns, batch_rows)
    keys = ds.get_partition_keys(block.fragment.partition_expression)
    return _completed(batches, schema, columns, keys)


def _opened(block):
    """The file of a block; ValueError if it has grown or shrunk, so that its parts are others."""
    file = block.fragment.open()
    if file.size() != block.size:
        raise ValueError(
            f"{block.path} was changed while it was read: it had {block.size} bytes and now has "
            f"{file.size()}."
        )
    return file


def _parquet_batches(block, columns, batch_rows):
    file = _opened(block)
    reader = pq.ParquetFile(
        file, metadata=block.fragment.metadata, buffer_size=_BUFFER, pre_buffer=False
    )
    names = set(reader.schema_arrow.names)
    present = [name for name in columns if name in names]
    if not present:  # rows of nothing must still be counted
        present = reader.schema_arrow.names[:1]
    with file:
        yield from reader.iter_batches(
            batch_size=batch_rows, row_groups=[block.part], columns=present, use_threads=False
        )


def _ipc_batches(block, columns, batch_rows, note_bytes):
    with _opened(block) as file:
        names = pa.ipc.open_file(file).schema.names
        wanted = [place for place, name in enumerate(names) if name in set(columns)]
        options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
        batch = pa.ipc.open_file(file, options=options).get_batch(block.part)
    note_bytes(batch.nbytes)
    for row in range(0, batch.num_rows, batch_rows):
        yield batch.slice(row, batch_rows)


def _completed(batches, schema, columns, keys):
    """The batches with these columns in this order, of these types, and those that paths tell."""
    wanted = pa.schema([schema.field(name) for name in columns])
    of_path = not keys.keys().isdisjoint(columns)
    for batch in batches:
        given = batch.schema
        if of_path or not given.equals(wanted):
            arrays = [
                _column(batch, given.get_field_index(field.name), field, keys) for field in wanted
            ]
            batch = pa.RecordBatch.from_arrays(arrays, schema=wanted)
        yield batch


def _column(batch, number, field, keys):
    if field.name in keys:  # the path has a say before the file, as it has in Dataset.to_table
        return pa.array([keys[field.name]] * batch.num_rows, field.type)
    if number >= 0:
        array = batch.column(number)
        return array if array.type == field.type else array.cast(field.type)
    return pa.nulls(batch.num_rows, field.type)


# ---- bytes ----


def _width(kind):
    """Bytes of a number of this type; None for texts and others whose values differ in it."""
    try:
        return max(kind.bit_width // 8, 1)
    except ValueError:
        return None


def _row_bytes(schema, columns):
    """Bytes of a decoded row; texts are taken to have 32."""
    return sum(_width(schema.field(name).type) or 32 for name in columns)


def _columns_of(block, columns):
    """What the row group of a block has of these columns."""
    group, wanted = block.fragment.metadata.row_group(block.part), set(columns)
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema.split(".")[0] in wanted or column.path_in_schema in wanted:
            yield column


def _bytes_of_row(block, columns):
    """Bytes of these columns in a row of a row group, on the average."""
    n_bytes = sum(column.total_uncompressed_size for column in _columns_of(block, columns))
    return n_bytes // max(block.fragment.metadata.row_group(block.part).num_rows, 1)


def _parquet_bytes(block, columns):
    """Bytes that are needed to decode a row group page by page."""
    needed = 0
    for column in _columns_of(block, columns):
        size = max(column.total_uncompressed_size, column.total_compressed_size)
        pages = 2 if any("DICTIONARY" in e for e in column.encodings) else 1
        needed += pages * min(size, _PAGE) + 2 * min(column.total_compressed_size, _BUFFER)
    return needed + needed // 4  # what the allocator does not give back at once


def batch_rows_for(row_bytes):
    """So many rows are decoded together: about a mebibyte of them.

    An odd multiple of 16: the columns of a matrix of so many rows lie at addresses that a cache
    keeps in different places, where those of a power of 2 would push each other out.
    """
    rows = int(np.clip(_DECODED // max(row_bytes, 1), 256, 16384))
    return rows - rows % 32 - 16
