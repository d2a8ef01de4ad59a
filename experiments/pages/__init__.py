"""HTML pages of one file: the page of a run, its tables and figures, and the templates of all pages."""
