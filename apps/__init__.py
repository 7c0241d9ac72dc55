"""What runs on a node: plain functions sent to workers by reference.

Each folder has ``settings.py`` (what a user may set), domain modules and ``task.py`` (what Parsl
calls). Nothing here imports ``campaign``; importing this package loads no heavy library.
"""
