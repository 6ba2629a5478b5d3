"""Untrusted bytes -> raw pages and pictures, in a confined child process. `sandbox.py` is the way in."""
