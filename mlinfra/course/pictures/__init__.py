"""The pictures of the notebooks, one module a room: pure functions that give a figure."""
