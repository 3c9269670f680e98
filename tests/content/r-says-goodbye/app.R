# Writes into the content's state when a session ends and when its process is asked to end.
library(shiny)

says <- function(text) {
  function() cat(text, "\n", sep = "", file = file.path(Sys.getenv("SUPERVISOR_STATE"), "said"),
                 append = TRUE)
}

onStop(says("process"))

shinyApp(
  fluidPage(textOutput("value")),
  function(input, output, session) {
    session$onSessionEnded(says("session"))
    output$value <- renderText(input$n)
  }
)
