"""What holds for all tests."""

import gc


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules stay to the end: to look through them for garbage took 5% of the time."""
    gc.collect()
    gc.freeze()
