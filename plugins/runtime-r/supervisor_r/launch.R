# Serves the Shiny app in the working directory on the Unix socket SUPERVISOR_LISTEN.
# Runs inside the content's own R, so it keeps to what R 3.1 understands.
local({
  fail <- function(...) {
    cat("content-supervisor: ", ..., "\n", sep = "", file = stderr())
    quit(save = "no", status = 1, runLast = FALSE)
  }
  flat <- function(text) gsub("[[:space:]]+", " ", text)

  socket <- Sys.getenv("SUPERVISOR_LISTEN")
  state <- Sys.getenv("SUPERVISOR_STATE")
  Sys.unsetenv("SUPERVISOR_LAUNCHER")
  if (!nzchar(socket)) fail("SUPERVISOR_LISTEN does not name a socket")

  tryCatch(
    suppressPackageStartupMessages(library("shiny", character.only = TRUE)),
    error = function(e) {
      fail("the package 'shiny' cannot be used by R ", as.character(getRversion()), " in ",
           R.home(), ": ", flat(conditionMessage(e)))
    }
  )

  # Bookmarks belong to the content, not to one deployment of it.
  if (nzchar(state) && "shinyOptions" %in% getNamespaceExports("shiny")) {
    bookmark <- function(id) file.path(state, "shiny_bookmarks", basename(id))
    shiny::shinyOptions(
      save.interface = function(id, callback) {
        dir.create(bookmark(id), recursive = TRUE, showWarnings = FALSE)
        callback(bookmark(id))
      },
      load.interface = function(id, callback) callback(bookmark(id))
    )
  }

  # httpuv takes a path for a port, and its umask as an attribute: mode 0660.
  unlink(socket)
  attr(socket, "mask") <- strtoi("117", 8L)

  # A session that is amid its end finishes its callbacks before INT is heard: thrown out of one,
  # Shiny would take the session for ended and never run the others.
  try({
    class <- getNamespace("shiny")$ShinySession
    methods <- class$public_methods
    body(methods$wsClosed) <- call("suspendInterrupts", body(methods$wsClosed))
    if (exists("suspendInterrupts", baseenv())) class$public_methods <- methods  # R 3.5
  }, silent = TRUE)

  # INT asks us to end. Shiny then runs the callbacks of onStop, but none of a session.
  end_sessions <- function() {
    sessions <- tryCatch(getNamespace("shiny")$appsByToken$values(), error = function(e) NULL)
    for (session in sessions) if (!session$isClosed()) try(session$wsClosed())
  }

  calls <- NULL
  tryCatch(
    withCallingHandlers(
      shiny::runApp(getwd(), port = socket, launch.browser = FALSE),
      error = function(e) calls <<- sys.calls(),
      interrupt = function(e) end_sessions()
    ),
    interrupt = function(e) quit(save = "no", status = 0),
    error = function(e) {
      # The outer frames are ours and Shiny's, which marks where the app's own begin; the last two
      # are the handler's.
      lines <- vapply(calls, function(call) deparse(call, width.cutoff = 100L)[1L], "")
      outer <- grep("^(shiny::runApp|\\.\\.stacktraceon\\.\\.)\\(", lines)
      lines <- lines[seq_along(lines) > max(0L, outer) & seq_along(lines) < length(lines) - 1L]
      cat("Error: ", conditionMessage(e), "\n", sep = "", file = stderr())
      cat(sprintf("  called from %s\n", rev(tail(lines, 20L))), sep = "", file = stderr())
      fail("the app stopped with an error: ", flat(conditionMessage(e)))
    }
  )
})
