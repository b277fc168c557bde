"""`carillon smoke URL`: whether a platform that was just rolled out serves, asked at its front door."""
