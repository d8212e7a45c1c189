"""The queue as a value: events in, effects out. No I/O, no clock, no thread, no randomness of its own."""
