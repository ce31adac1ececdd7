"""Looking after files: feature files come in; what they hold, what is damaged, what is whole and their union go out."""
