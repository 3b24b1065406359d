"""What the project is made with: nothing here is shipped."""
