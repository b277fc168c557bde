"""Far sides with state, for tests: they remember what reached them and misbehave when told."""
