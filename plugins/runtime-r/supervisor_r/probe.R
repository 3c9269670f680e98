# Prints what the supervisor wants to know of this R, one "key<TAB>value" a line.
shiny <- suppressWarnings(packageDescription("shiny", fields = "Version"))
say <- function(key, value) cat(sprintf("%s\t%s\n", key, value), sep = "")
say("version", as.character(getRversion()))
say("home", normalizePath(R.home()))
say("shiny", if (is.na(shiny)) "" else shiny)
# On Debian the files of R.home("etc") are links to another directory.
linked <- dirname(normalizePath(list.files(R.home("etc"), full.names = TRUE)))
places <- c(linked, R.home(), R.home("etc"), R.home("share"), R.home("doc"), R.home("include"),
            .libPaths())
say("prefix", unique(normalizePath(places[file.exists(places)])))
