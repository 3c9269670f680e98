library(shiny)

system(paste("yes a line of the flood | head -c", Sys.getenv("FLOOD_BYTES", "1000000000"), "&"))

shinyApp(
  fluidPage(sliderInput("n", "n", 1, 9, 1), textOutput("value")),
  function(input, output) output$value <- renderText(2 * input$n)
)
