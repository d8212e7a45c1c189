"""The actors around the core: the queue server that owns core, store and sockets, and those that look after the store."""
