"""Commands that take a hospital's images to maps, surrogates, statistics and figures."""
