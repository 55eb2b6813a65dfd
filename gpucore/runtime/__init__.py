"""What lives on a device: contexts, memory, arrays, streams, events, copies."""
