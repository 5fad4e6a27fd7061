"""Private ZooKeeper and MongoDB servers, for the demo and the tests.

Nothing of the service itself imports this package. The classes are synchronous: a server is started,
stopped, killed, paused and wiped by the thread that asks for it, and it never outlives its parent.
"""

from hybridsync.embedded.mongodb import MongoServer, find_mongod
from hybridsync.embedded.sample_tree import sample_tree
from hybridsync.embedded.zookeeper import TlsFiles, ZooKeeperServer, find_zookeeper

__all__ = ["MongoServer", "TlsFiles", "ZooKeeperServer", "find_mongod", "find_zookeeper", "sample_tree"]
