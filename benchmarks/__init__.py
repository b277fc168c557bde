"""One script per question; every figure is measured, none is asserted."""
