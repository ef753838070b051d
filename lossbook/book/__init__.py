"""The machine: what cells import; in `runs` what runs chapters, in `pages` what makes pages."""
