function(input, output, session) {
  cars <- reactive(mtcars[mtcars$cyl == input$cyl, ])
  output$summary <- renderText(describe(cars()))
  output$cars <- renderTable(cars()[, c("mpg", "hp", "wt")], rownames = TRUE)
}
