"""Accounts, hotkeys, wallet files and what exactly is signed."""
