"""The example package is tested where it is installed, by `test_plugin_package.py`."""

collect_ignore = ["plugin_package"]
