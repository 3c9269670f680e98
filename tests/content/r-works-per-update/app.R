library(shiny)

# Each update waits as for a query and computes a little, both on R's only thread. It tells what
# r-counts-its-visitors tells.
wait <- as.numeric(Sys.getenv("WAIT_SECONDS", "0.02"))
work <- as.numeric(Sys.getenv("WORK_SECONDS", "0.005"))
process <- paste(sample(c(0:9, letters[1:6]), 12, replace = TRUE), collapse = "")
sessions <- now <- most <- 0

cpu <- function() sum(proc.time()[1:2])

shinyApp(
  fluidPage(sliderInput("n", "n", 0, 60, 0), textOutput("value")),
  function(input, output, session) {
    mine <- sessions <<- sessions + 1
    now <<- now + 1
    most <<- max(most, now)
    session$onSessionEnded(function() now <<- now - 1)
    computed <- 0
    output$value <- renderText({
      n <- input$n
      computed <<- computed + 1
      Sys.sleep(wait)
      until <- cpu() + work
      while (cpu() < until) sum(runif(1000))
      paste(process, mine, computed, now, most, n)
    })
  }
)
