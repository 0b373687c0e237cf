"""The course's own program: the classifier that is served, its data, and the code that runs on each engine."""
