"""The faults of ZooKeeper → MongoDB."""

from __future__ import annotations

from tests.faults.chaos.faults import SERVICE_FAULTS, Faults, link_faults, mongodb_faults
from tests.faults.chaos.mirror_outsiders import MIRROR_OUTSIDERS
from tests.faults.chaos.schedule import Target
from tests.faults.chaos.zookeeper.access import ACCESS_OUTSIDERS
from tests.faults.chaos.zookeeper.restarts import zookeeper_faults
from tests.faults.chaos.zookeeper.stage import ZooKeeperStage

ZOOKEEPER_FAULTS: Faults[ZooKeeperStage] = {
    **link_faults("ZooKeeper", Target.SOURCE_LINK, lambda stage: stage.source_link),
    **zookeeper_faults(Target.SOURCE_LINK, Target.SOURCE),
    **ACCESS_OUTSIDERS,
    **mongodb_faults(Target.SINK_LINK, Target.SINK),
    **MIRROR_OUTSIDERS,
    **SERVICE_FAULTS,
}
