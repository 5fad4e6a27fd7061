"""What a user would pick instead, and the floors: each a process of its own that prints one line of JSON.

They get the same servers, the same tree, the same write concern and the same index as hybridsync. Their
clocks start when every connection is up and stop when the last write is acknowledged.
"""
