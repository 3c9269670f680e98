library(shiny)

swap <- function() {
  socket <- Sys.getenv("SUPERVISOR_LISTEN")
  file.remove(socket)
  file.symlink(Sys.getenv("SWAP_TO", "/tmp/other.sock"), socket)
}

shinyApp(
  fluidPage(sliderInput("n", "n", 1, 9, 1), textOutput("value")),
  function(input, output) output$value <- renderText(2 * input$n),
  onStart = function() later::later(swap, as.numeric(Sys.getenv("SWAP_AFTER", "2")))
)
