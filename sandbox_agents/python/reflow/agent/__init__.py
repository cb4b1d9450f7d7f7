"""The program inside a Python sandbox: it loads one actor script and runs its activations.

The script runs on the main thread, since only there can a busy script be interrupted; the link's reading is done on a
second thread (`link`), so that pings are answered and a cancel is read while the script is busy. The contract is
specs/protocol.md.
"""
