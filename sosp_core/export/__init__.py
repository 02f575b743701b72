"""Further forms of the finished model: eight-bit integers, half precision. Optional, measured like it."""
