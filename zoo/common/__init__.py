"""Shared by all rooms: errors, folders, progress, configs as JSON."""
