library(shiny)

cylinders <- sort(unique(mtcars$cyl))
