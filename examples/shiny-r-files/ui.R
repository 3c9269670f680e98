fluidPage(
  tags$head(tags$link(rel = "stylesheet", href = "style.css")),
  titlePanel("Cars of 1974"),
  sidebarLayout(
    sidebarPanel(radioButtons("cyl", "Cylinders", cylinders)),
    mainPanel(
      p(class = "summary", textOutput("summary", inline = TRUE)),
      tableOutput("cars")
    )
  )
)
