"""What the tests share: server bytes, a scripted server, throw-away certificates."""
