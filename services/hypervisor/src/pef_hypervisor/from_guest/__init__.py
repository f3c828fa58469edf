"""What a normal VM does here: its loads and stores. An SVM does them at the Ultravisor's door."""
