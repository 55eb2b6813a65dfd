"""The CPU as a device: memory, ordered queues, and launches."""
