"""R Shiny applications."""
