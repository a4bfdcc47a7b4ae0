"""The per-host agent: notices each change of home and moves pages."""
