library(shiny)

after <- as.numeric(Sys.getenv("DIE_AFTER", "1"))
shinyApp(
  fluidPage(sliderInput("n", "n", 1, 9, 1), textOutput("value")),
  function(input, output) output$value <- renderText(2 * input$n),
  onStart = function() later::later(function() quit(save = "no", status = 3), after)
)
