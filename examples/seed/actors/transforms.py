"""What the quick-start script calls and does not define: its own business logic, in a helper module beside it."""


def transform_data(data, config):
    """Multiplies every number of `data` by the configured `scale` (1 where there is none)."""
    settings = config.unwrap() if hasattr(config, "unwrap") else config
    return [value * settings.get("scale", 1) for value in data.unwrap()]
