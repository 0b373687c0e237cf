"""The exercises of the notebooks, one module a room: what is right, and a word for each likely mistake."""
