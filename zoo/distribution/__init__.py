"""Devices and hosts: the mesh, the sharding rules, and the processes of one run."""
