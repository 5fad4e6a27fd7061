"""What the stages of all pairs have in common whose sink is a mirror in MongoDB."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Self

from pymongo.collection import Collection
from pymongo.errors import CollectionInvalid, OperationFailure

from tests.administered_mongo import role_of_mirror
from tests.faults.chaos.stage import Stage
from tests.proxy import TcpProxy

_NAMESPACE_NOT_FOUND = 26


class MirrorStage(Stage):
    """See `Stage`. `lasting`: keys that nobody changes at the source.

    `edit`: an update that makes documents differ. `refusing`: a validator that some documents break.
    """

    edit: Mapping[str, Any]
    refusing: Mapping[str, Any]

    def __enter__(self) -> Self:
        super().__enter__()
        self._indexes = self._indexed()
        return self

    @property
    def mirror(self) -> Collection[dict[str, Any]]:
        """The collection, for outsiders, who may do everything with it."""
        return self.scene.collection

    @property
    @abstractmethod
    def lasting(self) -> list[str]:
        """Keys of records that nobody changes at the source."""

    @abstractmethod
    def foreign(self, model: str) -> dict[str, Any]:
        """A document that looks as if the mirror had made it, after that of `model`, and is not of the source."""

    @property
    def source_link(self) -> TcpProxy:
        """See `Stage`."""
        return self.scene.other_proxy

    @property
    def sink_link(self) -> TcpProxy:
        """See `Stage`."""
        return self.scene.mongo_proxy

    def _role(self) -> dict[str, Any]:
        return role_of_mirror(self.scene.database.name, self.mirror.name)

    def no_write_to_mongodb(self) -> AbstractContextManager[None]:
        """See `Stage`. The writer writes elsewhere."""
        return nullcontext()

    # -- for outsiders ----------------------------------------------------------------------------

    @contextmanager
    def taken_away(self) -> Iterator[None]:
        """In the block the mirror goes; from its end on it has to be noticed. It may be missing already."""
        self.allowances.unnoticed()
        try:
            yield
        except OperationFailure as error:
            if error.code != _NAMESPACE_NOT_FOUND:
                raise
        self.allowances.unnoticed()

    def made_capped(self, size: int) -> bool:
        """Makes the mirror anew as a capped collection of so many bytes; False if the service was faster."""
        self.mirror.drop()
        with suppress(OperationFailure, CollectionInvalid):  # there is one again already
            self.scene.database.create_collection(self.mirror.name, capped=True, size=size)
        return bool(self.mirror.options().get("capped"))

    def validate(self, validator: Mapping[str, Any]) -> None:
        """Puts a validator on the mirror; an empty one takes it off."""
        with suppress(OperationFailure):  # the mirror may be missing, and is made without one
            self.scene.database.command("collMod", self.mirror.name, validator=validator)

    def some_held(self, seed: int, count: int) -> list[str]:
        """Some keys that the mirror holds, half of them lasting. Chosen by `seed`."""
        chooser = random.Random(seed)
        written = sorted(self.scene.journal.held(self.mirror))
        return [*chooser.sample(self.lasting, count // 2), *chooser.sample(written, min(len(written), count))][:count]

    # -- the comparison ---------------------------------------------------------------------------

    def index_differences(self) -> list[str]:
        """Indexes that the mirror had in the beginning and has not now, and the other way round."""
        present = self._indexed()
        return [] if present == self._indexes else [f"indexes are {present}, not {self._indexes}"]

    def _indexed(self) -> list[str]:
        return sorted(str(one["key"]) for one in self.mirror.index_information().values())
