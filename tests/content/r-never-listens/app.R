cat("thinking before I listen\n")
repeat Sys.sleep(60)
