# Shiny loads every file of R/ before the app starts.
describe <- function(cars) {
  sprintf("%d cars, %.1f miles per gallon on average", nrow(cars), mean(cars$mpg))
}
