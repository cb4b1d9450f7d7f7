"""Graphs, ports, edges, mailboxes, routing, delivery, dead letters and native components."""
