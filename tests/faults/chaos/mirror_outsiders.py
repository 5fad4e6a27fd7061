"""What others do to a mirror in MongoDB: it is dropped, renamed, made anew, edited by hand, and made to refuse.

What was dropped or renamed has to be noticed by itself, in seconds. What was edited is found by a comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.allowances import among
from tests.faults.chaos.faults import LONG_SECONDS, Faults
from tests.faults.chaos.mirror_stage import MirrorStage
from tests.faults.chaos.schedule import Step, Target, kind

_AWAY = "away"
_CAPPED_BYTES = 1_000_000


@contextmanager
def _dropped(stage: MirrorStage, step: Step) -> Iterator[None]:
    with stage.taken_away():
        stage.mirror.drop()
    yield


@contextmanager
def _renamed(stage: MirrorStage, step: Step) -> Iterator[None]:
    with stage.taken_away():
        stage.mirror.rename(_AWAY, dropTarget=True)
    yield
    stage.scene.database.drop_collection(_AWAY)


@contextmanager
def _renamed_and_back(stage: MirrorStage, step: Step) -> Iterator[None]:
    """In the end an old copy stands in the place of the mirror that was made meanwhile."""
    with stage.taken_away():
        stage.mirror.rename(_AWAY, dropTarget=True)
    yield
    with stage.taken_away():
        stage.scene.database[_AWAY].rename(stage.mirror.name, dropTarget=True)


@contextmanager
def _made_anew_as_capped(stage: MirrorStage, step: Step) -> Iterator[None]:
    """What cannot hold a mirror; it goes again."""
    with stage.taken_away():
        stage.until(lambda: stage.made_capped(_CAPPED_BYTES), LONG_SECONDS)
    yield
    with stage.taken_away():
        stage.mirror.drop()


@contextmanager
def _edited(stage: MirrorStage, step: Step) -> Iterator[None]:
    """Of documents that nobody writes and of such that are written all the time, some are changed and some deleted."""
    changed, deleted, model = stage.some_held(step.count, 9)[::3], stage.some_held(step.count + 1, 4), stage.lasting[0]
    foreign = stage.foreign(model)
    stage.allowances.unverified(among([*changed, *deleted, str(foreign["_id"])]))
    stage.mirror.update_many({"_id": {"$in": changed}}, stage.edit)
    stage.mirror.delete_many({"_id": {"$in": deleted}})
    stage.mirror.replace_one({"_id": foreign["_id"]}, foreign, upsert=True)
    yield


@contextmanager
def _validated(stage: MirrorStage, step: Step) -> Iterator[None]:
    """Some documents break the rules of a validator, which is taken off again."""
    stage.validate(stage.refusing)
    yield
    stage.validate({})


@contextmanager
def _without_index(stage: MirrorStage, step: Step) -> Iterator[None]:
    """The next comparison has to make them again."""
    stage.mirror.drop_indexes()
    stage.allowances.unverified(among([]))
    yield


_UNDISTURBED = (Target.SINK, Target.SINK_LINK)

MIRROR_OUTSIDERS: Faults[MirrorStage] = {
    kind("mirror dropped", *_UNDISTURBED): _dropped,
    kind("mirror renamed away", *_UNDISTURBED): _renamed,
    kind("mirror renamed away and back", *_UNDISTURBED): _renamed_and_back,
    kind("mirror made anew as a capped collection", *_UNDISTURBED): _made_anew_as_capped,
    kind("mirror edited by hand", *_UNDISTURBED): _edited,
    kind("mirror with a validator that refuses some documents", *_UNDISTURBED): _validated,
    kind("indexes of the mirror dropped", *_UNDISTURBED): _without_index,
}
