library(shiny)

out <- pipe("cat", "wb")
writeBin(as.raw(c(0xff, 0xfe, 0x00, 0x00, 0xc3, 0x28, 0x1b, 0x5b, 0x0a)), out)
long <- rep(charToRaw("x"), 1e6)
for (i in 1:100) writeBin(long, out)
writeBin(charToRaw("\nafter the garbage\n"), out)
close(out)

shinyApp(
  fluidPage(sliderInput("n", "n", 1, 9, 1), textOutput("value")),
  function(input, output) output$value <- renderText(2 * input$n)
)
