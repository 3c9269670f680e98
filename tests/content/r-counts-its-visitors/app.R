library(shiny)

# Tells: which process this is, the how many-th session of it, how often this session was computed,
# how many sessions the process has now and had at most, and n. Computes for `busy` seconds.
process <- paste(sample(c(0:9, letters[1:6]), 12, replace = TRUE), collapse = "")
sessions <- now <- most <- 0

shinyApp(
  fluidPage(sliderInput("n", "n", 0, 60, 0), textOutput("value")),
  function(input, output, session) {
    mine <- sessions <<- sessions + 1
    now <<- now + 1
    most <<- max(most, now)
    session$onSessionEnded(function() now <<- now - 1)
    observeEvent(input$busy, {
      end <- Sys.time() + input$busy
      while (Sys.time() < end) sum(sqrt(1:10000))
    })
    computed <- 0
    output$value <- renderText({
      n <- input$n
      computed <<- computed + 1
      paste(process, mine, computed, now, most, n)
    })
  }
)
