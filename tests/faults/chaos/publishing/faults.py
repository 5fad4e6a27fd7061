"""The faults of MongoDB → ZooKeeper."""

from __future__ import annotations

from tests.faults.chaos.faults import SERVICE_FAULTS, Faults, link_faults, mongodb_faults
from tests.faults.chaos.publishing.outsiders import PUBLISHING_OUTSIDERS
from tests.faults.chaos.publishing.stage import PublishingStage
from tests.faults.chaos.schedule import Target
from tests.faults.chaos.zookeeper.restarts import zookeeper_faults

PUBLISHING_FAULTS: Faults[PublishingStage] = {
    **mongodb_faults(Target.SOURCE_LINK, Target.SOURCE),
    **link_faults("ZooKeeper", Target.SINK_LINK, lambda stage: stage.sink_link),
    **zookeeper_faults(Target.SINK_LINK, Target.SINK),
    **PUBLISHING_OUTSIDERS,
    **SERVICE_FAULTS,
}
