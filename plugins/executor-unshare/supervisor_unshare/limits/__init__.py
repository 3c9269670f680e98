"""How much contents may use, each and together, and which limit ended a run."""
