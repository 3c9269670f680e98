library(shiny)

# Computes for n seconds and answers nobody meanwhile.
shinyApp(
  fluidPage(sliderInput("n", "n", 0, 60, 0), textOutput("value")),
  function(input, output) {
    output$value <- renderText({
      end <- Sys.time() + input$n
      while (Sys.time() < end) sum(sqrt(1:10000))
      2 * input$n
    })
  }
)
