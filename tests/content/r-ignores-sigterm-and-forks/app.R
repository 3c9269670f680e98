library(shiny)

# R cannot ignore SIGTERM; its children can, and hide: a session of its own, nohup, a double fork.
start <- function(command) system(command, ignore.stdout = TRUE, ignore.stderr = TRUE)
start("trap '' TERM HUP INT; setsid sleep 271828 &")
start("trap '' TERM; nohup sleep 271828 &")
start("trap '' TERM HUP INT; (sh -c 'sleep 271828 & exit 0' &)")
parallel::mcparallel(Sys.sleep(271828), detached = TRUE)

shinyApp(
  fluidPage(sliderInput("n", "n", 1, 9, 1), textOutput("value")),
  function(input, output) output$value <- renderText(2 * input$n)
)
