"""What two or more rooms use. Imports no other room."""
