from __future__ import annotations

from reflow_supervisor.sandbox.agents import AgentPlace, agent_command, environment
from reflow_supervisor.sandbox.backend import Limits


def test_python_ignores_environment_and_site_packages() -> None:
    command = agent_command(AgentPlace("python", "/usr/bin/python3", "/agent/python", Limits()))
    assert command[:6] == ["/usr/bin/python3", "-I", "-S", "-B", "-u", "-c"]
    compile(command[6], "bootstrap", "exec")
    assert "'/agent/python'" in command[6]


def test_node_collects_before_the_sandbox_is_full() -> None:
    limits = Limits(memory=512 << 20)
    assert agent_command(AgentPlace("javascript", "node", "/agent/javascript", limits)) == [
        "node",
        "--max-old-space-size=384",
        "/agent/javascript/agent.js",
    ]
    unlimited = agent_command(AgentPlace("javascript", "node", "/agent/javascript", Limits(memory=None)))
    assert unlimited == ["node", "/agent/javascript/agent.js"]


def test_environment_is_only_what_the_agent_needs() -> None:
    found = environment(link="l", token="t", workspace="w", home="h", path="p")
    assert found == {
        "REFLOW_LINK": "l",
        "REFLOW_TOKEN": "t",
        "REFLOW_WORKSPACE": "w",
        "REFLOW_PROTOCOL": "1",
        "PATH": "p",
        "HOME": "h",
        "LANG": "C.UTF-8",
    }
