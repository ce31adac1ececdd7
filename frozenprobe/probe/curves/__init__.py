"""What more would give: features come in; accuracies by views or by images a class, and what follows, go out."""
