library(shiny)

connect <- function(where) stop("no database at ", where)
connect("db.example")

shinyApp(fluidPage(), function(input, output) NULL)
