"""The book's machine: what cells import; `runs` runs chapters, `pages` makes pages."""
