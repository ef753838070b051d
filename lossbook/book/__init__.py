"""What turns chapters into pages, and what their cells import."""
