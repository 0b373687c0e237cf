"""Rules of the package's own nouns, a module for each room: what compares fields, or is no plain bound."""
