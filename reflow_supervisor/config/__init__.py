"""reflow.yaml: what it can say, how it is read, and its JSON Schema and reference, which are made from that."""

from reflow_supervisor.config.loading import load_config, parse_config
from reflow_supervisor.config.model import (
    Backend,
    BackoffConfig,
    Config,
    ConnectionConfig,
    LimitsConfig,
    MinimumIsolation,
    NetworkConfig,
    OnFull,
    ProcessConfig,
    RedisConfig,
    Restart,
    SandboxConfig,
    Strategy,
    SupervisionConfig,
    WebSocketConfig,
    WorkspaceConfig,
)
from reflow_supervisor.config.schema import json_schema
from reflow_supervisor.config.values import Endpoint

__all__ = [
    "Backend",
    "BackoffConfig",
    "Config",
    "ConnectionConfig",
    "Endpoint",
    "LimitsConfig",
    "MinimumIsolation",
    "NetworkConfig",
    "OnFull",
    "ProcessConfig",
    "RedisConfig",
    "Restart",
    "SandboxConfig",
    "Strategy",
    "SupervisionConfig",
    "WebSocketConfig",
    "WorkspaceConfig",
    "json_schema",
    "load_config",
    "parse_config",
]
