library(shiny)

Sys.sleep(as.numeric(Sys.getenv("SLOW_SECONDS", "5")))

shinyApp(
  fluidPage(sliderInput("n", "n", 1, 9, 1), textOutput("value")),
  function(input, output) output$value <- renderText(2 * input$n)
)
