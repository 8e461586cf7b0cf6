"""An index on a Milvus server, reached by ``milvus://host:port/name``. No torch.

Rows are never changed under a reader: a row has the generation it was born in and the one it dies in, and a library's
row of state says which generation counts. Saving writes rows of the next generation, which nobody sees, and then that
one row; so a kill at any instant leaves the previous or the new state, and the next save clears away what it left.

Between commands of one machine there is a lock; between machines the generation alone is compared.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from clover.errors import LibraryBusyError, LibraryError
from clover.search.interface import (
    Filter,
    Hit,
    Index,
    Information,
    Moment,
    SearchOptions,
    Verification,
    VideoRecord,
    checked,
    checked_queries,
    refuse_other_model,
    unit,
)
from clover.search.lock import lock_file
from clover.search.milvus_server import MOMENT_FIELDS, VIDEO_FIELDS, Address, Server, expression, in_any
from clover.search.segment import Segment

_FORMAT = "clover-library-milvus-1"
_NEVER = 2**62
_MOST_RESULTS = 16_384
_BATCH = 1000
_STALE_SECONDS = 10.0
_LONGEST_PATH = 4096
_NUM_QUERIES = 64
_NUM_NEAREST = 10


class MilvusIndex(Index):
    """See the module. A search gives at most 16,384 results, the server's limit."""

    def __init__(self, place: str, server: Server, state: dict[str, Any]) -> None:
        """Use `create` or `open`."""
        self.place, self.server, self._name = place, server, server.address.name
        self._added: list[tuple[list[Moment], Float32[np.ndarray, "n d"]]] = []
        self._removed: dict[str, int] = {}
        self._lock_depth = 0
        self._take(state)

    def _take(self, state: dict[str, Any]) -> None:
        self.fingerprint, self.width, self.details = state["fingerprint"], state["width"], state["details"]
        self.options = SearchOptions(**state["options"])
        self._generation, self._collection = state["generation"], state["collection"]
        self._next_id, self._num_moments, self._checksum = state["next_id"], state["num_moments"], state["checksum"]
        self._search: dict[str, Any] = state["search"]
        self._fresh_until = time.monotonic() + _STALE_SECONDS

    def _state(self, generation: int) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "fingerprint": self.fingerprint,
            "width": self.width,
            "details": self.details,
            "options": asdict(self.options),
            "generation": generation,
            "collection": self._collection,
            "next_id": self._next_id,
            "num_moments": self._num_moments,
            "checksum": self._checksum,
            "search": self._search,
        }

    @classmethod
    def exists(cls, place: str) -> bool:
        """Whether there is such a library.

        Raises:
            LibraryError: the server cannot be reached.
        """
        address = Address.parse(place)
        return Server(address).read_state(address.name) is not None

    @classmethod
    def create(
        cls, place: str, *, width: int, fingerprint: str, details: dict[str, Any], options: SearchOptions | None = None
    ) -> MilvusIndex:
        """Make an empty library; nothing is on the server before `save`.

        Raises:
            LibraryError: there is one already, or the server cannot be reached.
        """
        address = Address.parse(place)
        server = Server(address)
        if server.read_state(address.name) is not None:
            raise LibraryError(f"{place} is there already; choose another name")
        state = {
            "fingerprint": fingerprint,
            "width": width,
            "details": details,
            "options": asdict(options or SearchOptions()),
            "generation": 0,
            "collection": f"{address.name}_{os.urandom(4).hex()}",
            "next_id": 0,
            "num_moments": 0,
            "checksum": 0,
            "search": {"kind": "exact"},
        }
        return cls(place, server, state)

    @classmethod
    def open(cls, place: str, *, fingerprint: str | None = None) -> MilvusIndex:
        """Open a library.

        Raises:
            LibraryError: it is missing, of a later version, or made by another model; no such server.
        """
        address = Address.parse(place)
        server = Server(address)
        state = server.read_state(address.name)
        if state is None:
            raise LibraryError(
                f"{place} is not a library: the server has none of that name; make one with clover index"
            )
        if state.get("format") != _FORMAT:
            raise LibraryError(f"{place} is of version {state.get('format')}; this program reads {_FORMAT}")
        refuse_other_model(place, state["fingerprint"], fingerprint, state["details"])
        if not server.call("has_collection", state["collection"]):
            raise LibraryError(f"{place} is damaged: its collection {state['collection']} is gone; index again")
        if not server.call("list_indexes", state["collection"]):  # a command was killed while it changed the index
            server.set_index(state["collection"], "FLAT", {})
        server.call("load_collection", state["collection"])
        return cls(place, server, state)

    # reading

    def _visible(self, *conditions: str) -> str:
        """The expression of the rows that count, among those that conditions admit."""
        found = [f"born <= {self._generation}", f"died > {self._generation}", *conditions]
        if self._removed:
            found.append(f"not ({in_any(self._removed)})")
        return " and ".join(found)

    @property
    def _level(self) -> str:
        """How up to date the server's answers must be: soon after a save, altogether, which takes it 0.2 s longer."""
        return "Strong" if time.monotonic() < self._fresh_until else "Bounded"

    def _rows(self, fields: list[str], *conditions: str) -> Iterator[dict[str, Any]]:
        if self._generation:
            yield from self.server.rows(self._collection, self._visible(*conditions), fields, self._level)

    def __len__(self) -> int:
        return self._num_moments - sum(self._removed.values()) + sum(len(moments) for moments, _ in self._added)

    @property
    def moments(self) -> list[Moment]:
        return self._moments()

    def _moments(self, *conditions: str) -> list[Moment]:
        rows = sorted(self._rows(MOMENT_FIELDS, *conditions), key=lambda row: int(row["id"]))
        return [_moment(row) for row in rows] + [moment for some, _ in self._added for moment in some]

    def video_records(self) -> list[VideoRecord]:
        first: dict[VideoRecord, int] = {}
        for row in self._rows(["id", *VIDEO_FIELDS]):
            record = VideoRecord(**{name: row[name] for name in VIDEO_FIELDS} | {"tags": tuple(row["tags"])})
            first[record] = min(int(row["id"]), first.get(record, _NEVER))
        saved = sorted(first, key=lambda record: first[record])
        return list(dict.fromkeys([*saved, *(VideoRecord.of(moment) for some, _ in self._added for moment in some)]))

    def moments_of(self, video: str) -> list[Moment]:
        return [moment for moment in self._moments(in_any([video])) if moment.video == video]

    def nearest(
        self, queries: Float[np.ndarray, "*q d"], num_results: int, where: Filter | None = None
    ) -> list[list[Hit]]:
        rows = checked_queries(queries, self.width)
        found = self._nearest_saved(rows, min(num_results, _MOST_RESULTS), expression(where))
        if self._added:
            segment = self._waiting()
            nearest = segment.nearest(rows, num_results, where)
            for hits, taken, scores in zip(found, nearest.rows, nearest.scores, strict=True):
                hits += [
                    Hit(moment=moment, score=score)
                    for moment, score in zip(segment.moments(taken), scores.tolist(), strict=True)
                ]
                hits.sort(key=lambda hit: -hit.score)
        return [hits[:num_results] for hits in found]

    def _nearest_saved(
        self, queries: Float32[np.ndarray, "q d"], num_results: int, conditions: list[str]
    ) -> list[list[Hit]]:
        if not self._generation or not num_results or not len(queries):
            return [[] for _ in queries]
        num_lists = self._search.get("num_lists", 0)
        while True:
            found = self._ask(queries, num_results, num_lists, conditions)
            most = self._search.get("all_lists", 0)
            # an inverted file may have come upon too few of what a filter admits: then it looks further
            if num_lists == most or min(map(len, found)) >= num_results:
                ranked = [sorted(hits, key=lambda hit: (-hit["distance"], hit["id"])) for hits in found]
                return [[Hit(moment=_moment(hit["entity"]), score=hit["distance"]) for hit in hits] for hits in ranked]
            num_lists = min(2 * num_lists, most)

    def _ask(
        self, queries: Float32[np.ndarray, "q d"], num_results: int, num_lists: int, conditions: Iterable[str]
    ) -> list[list[dict[str, Any]]]:
        found = self.server.call(
            "search",
            self._collection,
            data=list(queries),
            limit=num_results,
            filter=self._visible(*conditions),
            output_fields=MOMENT_FIELDS,
            search_params={"params": {"nprobe": num_lists} if num_lists else {}},
            consistency_level=self._level,
        )
        return [list(hits) for hits in found]

    def _waiting(self) -> Segment:
        """What was added since the last save."""
        moments = [moment for some, _ in self._added for moment in some]
        return Segment.of(moments, np.concatenate([vectors for _, vectors in self._added]))

    def vectors_of(self, moments: Sequence[Moment]) -> Float32[np.ndarray, "n d"]:
        videos = list(dict.fromkeys(moment.video for moment in moments))
        vectors: dict[tuple[str, float, float], np.ndarray] = {}
        for start in range(0, len(videos), 100):
            fields = ["video", "start_seconds", "end_seconds", "vector"]
            for row in self._rows(fields, in_any(videos[start : start + 100])):
                vectors[row["video"], row["start_seconds"], row["end_seconds"]] = row["vector"]
        for some, added in self._added:
            for moment, vector in zip(some, added, strict=True):
                vectors[moment.video, moment.start_seconds, moment.end_seconds] = vector
        wanted = [(moment.video, moment.start_seconds, moment.end_seconds) for moment in moments]
        for video, start_seconds, end_seconds in wanted:
            if (video, start_seconds, end_seconds) not in vectors:
                raise LibraryError(
                    f"{self.place} has no moment of {video} "
                    f"from {start_seconds:g} to {end_seconds:g} s; search it again"
                )
        found = np.array([vectors[one] for one in wanted], dtype=np.float32)
        return found.reshape(len(moments), self.width)

    # changing

    def add(self, moments: Sequence[Moment], vectors: Float[np.ndarray, "n d"]) -> None:
        rows = checked(moments, vectors, self.width)
        longest = max((moment.video for moment in moments), key=lambda video: len(video.encode()), default="")
        if len(longest.encode()) >= _LONGEST_PATH:
            raise LibraryError(f"{longest} is longer than the {_LONGEST_PATH} bytes that a server's row takes")
        if len(rows):
            self._added.append((list(moments), rows))

    def remove_all(self, videos: Collection[str]) -> int:
        before = len(self)
        wanted = set(videos) - set(self._removed)
        counts: dict[str, int] = {}
        for row in self._rows(["video"], in_any(wanted)) if wanted else ():
            counts[row["video"]] = counts.get(row["video"], 0) + 1
        kept = []
        for moments, vectors in self._added:
            places = [place for place, moment in enumerate(moments) if moment.video not in videos]
            if places:
                kept.append(([moments[place] for place in places], vectors[places]))
        self._added = kept
        self._removed |= counts
        return before - len(self)

    @contextmanager
    def locked(self) -> Iterator[None]:
        if self._lock_depth:
            self._lock_depth += 1
            try:
                yield
            finally:
                self._lock_depth -= 1
            return
        name = hashlib.sha256(self.place.encode()).hexdigest()[:32]
        user = os.getuid() if hasattr(os, "getuid") else 0
        path = Path(tempfile.gettempdir()) / f"clover-locks-{user}" / name
        with lock_file(path, self.place):
            self._check_generation()
            self._lock_depth = 1
            try:
                yield
            finally:
                self._lock_depth = 0

    def is_current(self) -> bool:
        state = self.server.read_state(self._name)
        return (0 if state is None else state["generation"]) == self._generation

    def _check_generation(self) -> None:
        if not self.is_current():
            raise LibraryBusyError(f"{self.place} was changed by another command meanwhile; run this one again")

    def save(self) -> None:
        with self.locked():
            self._check_generation()
            self._make_collection()
            self._clear_leftovers()
            before = self._next_id, self._num_moments, self._checksum
            try:
                self._mark_removed()
                self._insert_added()
                self._commit()
            except BaseException:
                self._next_id, self._num_moments, self._checksum = before
                raise
            self._added, self._removed = [], {}

    def _commit(self) -> None:
        """Make what was written count; what died before the previous state is cleared away."""
        self.server.write_state(self._name, self._state(self._generation + 1))
        self._generation += 1
        self._fresh_until = time.monotonic() + _STALE_SECONDS
        self.server.call("delete", self._collection, filter=f"died < {self._generation}")

    def _make_collection(self) -> None:
        text = {"max_length": _LONGEST_PATH}
        tags = {"element_type": "VARCHAR", "max_capacity": 256, "max_length": 256}
        self.server.make_collection(
            self._collection,
            [
                ("id", "INT64", {"is_primary": True}),
                ("vector", "FLOAT_VECTOR", {"dim": self.width}),
                ("video", "VARCHAR", text),
                ("signature", "VARCHAR", text),
                *((name, "DOUBLE", {}) for name in ("start_seconds", "end_seconds", "modified", "video_seconds")),
                ("tags", "ARRAY", tags),
                *((name, "INT64", {}) for name in ("born", "died")),
            ],
        )

    def _clear_leftovers(self) -> None:
        """Undo what a command did that was killed while it saved: nobody has seen it."""
        self.server.call("delete", self._collection, filter=f"born > {self._generation}")
        dying = f"died > {self._generation} and died < {_NEVER}"
        self._rewrite([row | {"died": _NEVER} for row in self.server.rows(self._collection, dying, ["*"], "Strong")])

    def _mark_removed(self) -> None:
        removed, self._removed = self._removed, {}
        try:
            videos = list(removed)
            for start in range(0, len(videos), 100):
                rows = list(self._rows(["*"], in_any(videos[start : start + 100])))
                self._num_moments -= len(rows)
                self._checksum = (self._checksum - sum(map(_row_checksum, rows))) % 2**64
                self._rewrite([row | {"died": self._generation + 1} for row in rows])
        finally:
            self._removed = removed

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        for start in range(0, len(rows), _BATCH):
            self.server.call("upsert", self._collection, rows[start : start + _BATCH])

    def _insert_added(self) -> None:
        for moments, vectors in self._added:
            rows = [
                {**asdict(moment), "tags": list(moment.tags), "vector": vector, "id": self._next_id + place}
                for place, (moment, vector) in enumerate(zip(moments, vectors, strict=True))
            ]
            self._next_id += len(rows)
            self._num_moments += len(rows)
            self._checksum = (self._checksum + sum(map(_row_checksum, rows))) % 2**64
            lives = {"born": self._generation + 1, "died": _NEVER}
            for start in range(0, len(rows), _BATCH):
                batch = [row | lives for row in rows[start : start + _BATCH]]
                self.server.call("insert", self._collection, batch)

    def is_due(self) -> bool:
        built_for = self._search.get("moments", 0)
        return len(self) > max(self.options.exact_up_to, 4 * built_for) and "why" not in self._search

    def compact(self) -> None:
        with self.locked():
            self.save()
            if self._num_moments > self.options.exact_up_to:
                self._search = self._compressed()
            elif self._search["kind"] != "exact":
                self.server.set_index(self._collection, "FLAT", {})
                self._search = {"kind": "exact"}
            self._commit()

    def _compressed(self) -> dict[str, Any]:
        """Have the server keep the vectors as 8-bit codes in an inverted file, as hard to search as recall asks for."""
        self.server.call("flush", self._collection)
        self.server.set_index(self._collection, "FLAT", {})
        chosen = np.random.default_rng(0).permutation(self._next_id)[: 4 * _NUM_QUERIES]
        own = list(self._rows(["vector"], f"id in {chosen.tolist()}"))[:_NUM_QUERIES]
        queries = unit(np.array([row["vector"] for row in own], dtype=np.float32).reshape(-1, self.width))
        if self.sample_queries is not None:
            queries = np.concatenate([queries, self.sample_queries[:_NUM_QUERIES]])
        truth = [{hit["id"] for hit in hits} for hits in self._ask(queries, _NUM_NEAREST, 0, [])]
        all_lists = max(16, int(4 * math.sqrt(self._num_moments)))
        self.server.set_index(self._collection, "IVF_SQ8", {"nlist": all_lists})
        num_lists = 1
        while True:
            found = [{hit["id"] for hit in hits} for hits in self._ask(queries, _NUM_NEAREST, num_lists, [])]
            recall = np.mean([len(some & right) / len(right) for some, right in zip(found, truth, strict=True)])
            if recall >= self.options.target_recall:
                search = {"kind": "compressed", "num_lists": num_lists, "all_lists": all_lists}
                return search | {"recall_at_10": float(recall), "moments": self._num_moments}
            if num_lists == all_lists:
                self.server.set_index(self._collection, "FLAT", {})
                why = f"compressed, a recall of {self.options.target_recall} is out of reach"
                return {"kind": "exact", "why": why}
            num_lists = min(2 * num_lists, all_lists)

    # looking after it

    def verify(self) -> Verification:
        problems, total, count = [], 0, 0
        for row in self._rows(["*"]):
            count += 1
            total = (total + _row_checksum(row)) % 2**64
        if count != self._num_moments:
            problems.append(f"there are {count} moments instead of {self._num_moments}")
        elif total != self._checksum:
            problems.append("moments or vectors are not as they were written (their checksum differs)")
        return Verification(num_files=1, num_moments=count, problems=problems)

    def information(self) -> Information:
        search = self._search | {"moments": self._num_moments, "collection": self._collection}
        return Information(
            place=self.place,
            fingerprint=self.fingerprint,
            width=self.width,
            num_videos=len(self.video_records()),
            num_moments=len(self),
            details=self.details,
            search=[search],
        )

    def migration(self, *, width: int, fingerprint: str, details: dict[str, Any]) -> MilvusIndex:
        place = f"{self.place}_migration"
        if not MilvusIndex.exists(place):
            return MilvusIndex.create(
                place, width=width, fingerprint=fingerprint, details=details, options=self.options
            )
        begun = MilvusIndex.open(place)
        if begun.fingerprint != fingerprint:
            raise LibraryError(
                f"{self.place} is being taken over by model {begun.fingerprint} "
                f"({begun.details.get('checkpoint')}), and this is model {fingerprint}; go on with that one"
            )
        return begun

    def adopt(self, successor: Index) -> None:
        if not isinstance(successor, MilvusIndex) or successor.server.address.server != self.server.address.server:
            raise LibraryError(f"{self.place} cannot take over {successor.place}: it is kept elsewhere")
        with self.locked():
            self._check_generation()
            successor.compact()
            taken = successor._state(self._generation + 1)
            # rows are counted in the successor's generations: those of both must be below the one that counts now
            taken["generation"] = max(self._generation, successor._generation) + 1
            self.server.write_state(self._name, taken)
            left = self._collection
            self._take(taken)
            self._added, self._removed = [], {}
            self.server.forget_state(successor._name)
            self.server.call("drop_collection", left)


def _moment(row: dict[str, Any]) -> Moment:
    names = ("video", "start_seconds", "end_seconds", "signature", "modified", "video_seconds")
    return Moment(**{name: row[name] for name in names}, tags=tuple(row["tags"]))


def _row_checksum(row: dict[str, Any]) -> int:
    """A number that changes when anything of a moment changes; those of a library are added up, in any order."""
    plain = json.dumps([row["id"], [str(row[name]) for name in MOMENT_FIELDS[1:-1]], list(row["tags"])])
    vector = np.asarray(row["vector"], dtype=np.float32).tobytes()
    return int.from_bytes(hashlib.blake2b(plain.encode() + vector, digest_size=8).digest())
