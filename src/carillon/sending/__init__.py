"""`carillon send` and `carillon demo`: a CSV becomes notifications, and a table tells what became of each."""
