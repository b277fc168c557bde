"""The documents as a site: `python -m website` draws the diagrams and renders every Markdown file of the repository."""
