"""Discovery, metadata, the registry, and the instance: from a file to a running actor."""
