"""What a guest may do: its ultracalls, and the loads and stores of an SVM."""
