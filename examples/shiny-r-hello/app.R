library(shiny)

ui <- fluidPage(
  titlePanel("Old Faithful, waiting"),
  sidebarLayout(
    sidebarPanel(
      sliderInput("n", "Bins", min = 5, max = 50, value = 20),
      p("Twice the number of bins:", strong(textOutput("double", inline = TRUE)))
    ),
    mainPanel(plotOutput("plot"))
  )
)

server <- function(input, output, session) {
  output$double <- renderText(2 * input$n)
  output$plot <- renderPlot({
    waiting <- faithful$waiting
    breaks <- seq(min(waiting), max(waiting), length.out = input$n + 1)
    par(mar = c(4, 4, 0.5, 0.5))
    hist(waiting, breaks = breaks, col = "#447099", border = "white",
         main = NULL, xlab = "Minutes until the next eruption")
  })
}

shinyApp(ui, server)
