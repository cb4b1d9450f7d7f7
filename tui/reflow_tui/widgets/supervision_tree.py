"""The supervision tree: strategies, states, and how much of its restart intensity each supervisor has used up."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Tree
from textual.widgets.tree import TreeNode as Node

from reflow_supervisor.control.protocol import TreeNode
from reflow_tui import text
from reflow_tui.palette import Palette, state_label

MAX_NODES = 5000


class SupervisionTree(Tree[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
        Binding("g", "scroll_home", "Top", show=False),
        Binding("G", "scroll_end", "Bottom", show=False),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(Text("no tree yet"), id=id)
        self._shape: object = None
        self._shown_nodes: list[Node[None]] = []
        self._labels: list[str] = []

    def show_tree(self, tree: TreeNode | None, palette: Palette) -> None:
        if tree is None:
            return
        flat: list[TreeNode] = []
        shape = _flatten(tree, flat)
        if shape != self._shape:
            self._rebuild(tree, palette)
            self._shape = shape
        for node, status, before in zip(self._shown_nodes, flat, list(self._labels), strict=False):
            label = _label(status, palette)
            if label.markup != before:
                node.set_label(label)
        self._labels = [_label(status, palette).markup for status in flat]

    def _rebuild(self, tree: TreeNode, palette: Palette) -> None:
        self.clear()
        self.root.set_label(_label(tree, palette))
        self._shown_nodes, self._labels = [self.root], []
        left = MAX_NODES

        def add(parent: Node[None], status: TreeNode) -> None:
            nonlocal left
            for child in status.children:
                left -= 1
                if left < 0:
                    return
                label = _label(child, palette)
                node = parent.add(label, expand=True) if child.children else parent.add_leaf(label)
                self._shown_nodes.append(node)
                add(node, child)

        add(self.root, tree)
        self.root.expand()


def _flatten(tree: TreeNode, into: list[TreeNode]) -> object:
    """Adds all nodes, in the order in which they are shown; gives what two trees of one form have in common."""
    into.append(tree)
    return (tree.id, tuple(_flatten(child, into) for child in tree.children))


def _label(status: TreeNode, palette: Palette) -> Text:
    label = Text.assemble(
        (text.line(status.id, 40), palette.strong),
        "  ",
        (state_label(text.line(status.state, 12)), palette.for_state(status.state)),
    )
    if status.strategy:
        label.append(f"  {text.line(status.strategy, 20)}", style=palette.muted)
    if status.intensity is not None:
        used = f"  restarts {status.restarts_in_window} of {status.intensity}"
        if status.period is not None:
            used += f" in {text.duration(status.period)}"
        label.append(used, style=palette.warning if status.restarts_in_window else palette.muted)
    elif status.restarts_in_window:
        label.append(f"  restarts {status.restarts_in_window}", style=palette.warning)
    if status.next_retry_in is not None:
        label.append(f"  next try in {text.rate(status.next_retry_in)} s", style=palette.warning)
    return label
