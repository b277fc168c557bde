"""HTTP: parse, call one action, render. One file per matter."""
