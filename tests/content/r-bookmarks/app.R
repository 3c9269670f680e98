# Saves bookmarks on the server: inputs, an uploaded file, a value and a file of its own.
library(shiny)

enableBookmarking("server")

page <- function(request) {
  fluidPage(
    numericInput("n", "n", 1),
    fileInput("file", "file"),
    bookmarkButton(id = "save"),
    textOutput("url"),
    textOutput("restored"),
    textOutput("uploaded")
  )
}

server <- function(input, output, session) {
  setBookmarkExclude("save")
  observeEvent(input$save, session$doBookmark())

  onBookmark(function(state) {
    state$values$squared <- input$n^2
    writeLines(paste("a note about", input$n), file.path(state$dir, "note.txt"))
  })
  url <- reactiveVal("")
  onBookmarked(function(link) url(sub("^[^?]*", "", link)))
  output$url <- renderText(url())

  restored <- reactiveVal("")
  onRestore(function(state) {
    note <- readLines(file.path(state$dir, "note.txt"))
    restored(paste0(state$input$n, ", ", state$values$squared, ", ", note))
  })
  output$restored <- renderText(restored())
  output$uploaded <- renderText({
    req(input$file)
    readLines(input$file$datapath)
  })
}

shinyApp(page, server)
