"""How well synthetic maps agree with exact ones, and what either costs."""
